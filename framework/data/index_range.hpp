// Some of the places of an axis: start:stop:step, as Python writes slices.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace scorenet::data {

/// As written: an end left out is the axis's own, one below 0 counts from its end.
struct IndexRange {
  std::optional<int64_t> start, stop;
  int64_t step = 1;
};

/// The places first, first + step, ... of an axis whose length is known.
struct Places {
  int64_t first = 0;
  int64_t count = 0;
  int64_t step = 1;

  int64_t at(int64_t i) const { return first + i * step; }
};

/// "2:10:4", ":", "-5:"; none for other text, and for a step below 1.
std::optional<IndexRange> parse_range(std::string_view text);

/// Unlike Python's slices these must lie on the axis, and not be empty: none otherwise.
std::optional<Places> places_on(const IndexRange& range, int64_t length);

}  // namespace scorenet::data
