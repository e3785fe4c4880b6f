#include "framework/comm/fingerprint.hpp"

#include <limits>

#include "framework/core/error.hpp"

namespace scorenet::comm {
namespace {

// Entries are joined by characters that no config line holds.
constexpr char kKeyEnd = '\x1f';
constexpr char kEntryEnd = '\x1e';

std::string join(const Fingerprint& fingerprint) {
  std::string text;
  for (const auto& [key, value] : fingerprint) text += key + kKeyEnd + value + kEntryEnd;
  return text;
}

Fingerprint split(const std::string& text) {
  Fingerprint result;
  for (size_t at = 0; at < text.size();) {
    const size_t key_end = text.find(kKeyEnd, at);
    const size_t end = text.find(kEntryEnd, key_end);
    result.emplace_back(text.substr(at, key_end - at), text.substr(key_end + 1, end - key_end - 1));
    at = end + 1;
  }
  return result;
}

/// Where two fingerprints first differ; `index` is past both ends if nowhere.
struct Difference {
  int64_t index = 0;
  std::string key;
  std::string zero_value;
  std::string my_value;
};

Difference first_difference(const Fingerprint& zero, const Fingerprint& mine) {
  const std::string absent = "(absent)";
  const size_t length = std::max(zero.size(), mine.size());
  for (size_t i = 0; i < length; ++i) {
    if (i < zero.size() && i < mine.size() && zero[i] == mine[i]) continue;
    const std::string& key = i < zero.size() ? zero[i].first : mine[i].first;
    const auto value_in = [&](const Fingerprint& fingerprint) {
      for (const auto& entry : fingerprint) {
        if (entry.first == key) return entry.second;
      }
      return absent;
    };
    return {int64_t(i), key, value_in(zero), value_in(mine)};
  }
  return {std::numeric_limits<int64_t>::max(), "", "", ""};
}

int64_t all_reduced(Communicator& communicator, int64_t value, ReduceOp op) {
  communicator.all_reduce({&value, 1, DataType::int64}, op, "fingerprint").wait();
  return value;
}

}  // namespace

std::string broadcast_text(Communicator& communicator, std::string text, int root,
                           std::string_view tag) {
  auto length = int64_t(text.size());
  communicator.broadcast({&length, 1, DataType::int64}, root, tag).wait();
  text.resize(size_t(length));
  communicator.broadcast({text.data(), length, DataType::uint8}, root, tag).wait();
  return text;
}

void check_same_on_all_ranks(Communicator& communicator, const Fingerprint& mine) {
  const Fingerprint zero = split(broadcast_text(communicator, join(mine), 0, "fingerprint"));
  const Difference difference = first_difference(zero, mine);
  const int64_t first = all_reduced(communicator, difference.index, ReduceOp::min);
  if (first == std::numeric_limits<int64_t>::max()) return;
  // The lowest rank that differs there tells all others what it has.
  const bool differs = difference.index == first;
  const int64_t count = all_reduced(communicator, differs ? 1 : 0, ReduceOp::sum);
  const int64_t speaker =
      all_reduced(communicator, differs ? communicator.rank() : std::numeric_limits<int64_t>::max(),
                  ReduceOp::min);
  const std::string rank = std::to_string(speaker);
  const std::string sentence =
      difference.key + " = " + difference.zero_value + " on rank 0 and " + difference.my_value +
      " on rank " + rank + " (" + std::to_string(count) + " of " +
      std::to_string(communicator.size()) +
      " ranks differ from rank 0): all ranks must run the same program, configuration and data. "
      "Start all with one command.";
  throw ConfigError(broadcast_text(communicator, sentence, int(speaker), "fingerprint"));
}

}  // namespace scorenet::comm
