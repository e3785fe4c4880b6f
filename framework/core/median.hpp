// The median of measurements. Plain C++.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace scorenet {

/// Of an even number of values: the larger of the two in the middle. REQUIRES a value.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace scorenet
