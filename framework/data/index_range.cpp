#include "framework/data/index_range.hpp"

#include <charconv>

namespace scorenet::data {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// False unless the text is a whole number, or empty, which leaves `out` alone.
bool read_number(std::string_view text, std::optional<int64_t>& out) {
  text = trimmed(text);
  if (text.empty()) return true;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  out = value;
  return error == std::errc() && end == text.data() + text.size();
}

// From the axis's start.
int64_t from_start(int64_t place, int64_t length) { return place < 0 ? length + place : place; }

}  // namespace

std::optional<IndexRange> parse_range(std::string_view text) {
  const auto first = text.find(':');
  if (first == std::string_view::npos) return std::nullopt;
  const auto second = text.find(':', first + 1);
  std::optional<int64_t> step = 1;
  IndexRange range;
  const bool read =
      read_number(text.substr(0, first), range.start) &&
      read_number(
          text.substr(first + 1, second == std::string_view::npos ? second : second - first - 1),
          range.stop) &&
      (second == std::string_view::npos || read_number(text.substr(second + 1), step));
  if (!read || *step < 1) return std::nullopt;
  range.step = *step;
  return range;
}

std::optional<Places> places_on(const IndexRange& range, int64_t length) {
  const int64_t start = from_start(range.start.value_or(0), length);
  const int64_t stop = from_start(range.stop.value_or(length), length);
  if (start < 0 || stop > length || start >= stop) return std::nullopt;
  return Places{start, (stop - start - 1) / range.step + 1, range.step};
}

}  // namespace scorenet::data
