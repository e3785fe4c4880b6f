#include "framework/data/notes.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace scorenet::data {
namespace {

constexpr size_t kMostNames = 8;

}  // namespace

std::string printable(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) {
      result += c;
      continue;
    }
    std::array<char, 5> escape{};
    std::snprintf(escape.data(), escape.size(), "\\x%02x", static_cast<unsigned char>(c));
    result += escape.data();
  }
  return result;
}

void Notes::add(const std::string& what, const std::string& name) {
  auto kind = std::find_if(kinds_.begin(), kinds_.end(),
                           [&what](const Kind& known) { return known.what == what; });
  if (kind == kinds_.end()) kind = kinds_.insert(kinds_.end(), Kind{what, 0, {}});
  ++kind->count;
  if (!name.empty() && kind->names.size() < kMostNames) kind->names.push_back(printable(name));
}

void Notes::tell(const std::string& line) { kinds_.push_back(Kind{line, 0, {}}); }

std::vector<std::string> Notes::lines() const {
  std::vector<std::string> lines;
  for (const auto& kind : kinds_) {
    if (kind.count == 0) {
      lines.push_back(kind.what);
      continue;
    }
    std::string names;
    for (const auto& name : kind.names) names += (names.empty() ? "" : ", ") + name;
    if (static_cast<size_t>(kind.count) > kind.names.size() && !names.empty()) names += ", ...";
    lines.push_back(kind.what + ": " + std::to_string(kind.count) +
                    (names.empty() ? "" : " (" + names + ")"));
  }
  return lines;
}

}  // namespace scorenet::data
