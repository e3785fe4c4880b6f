// The middle of some measurements. Plain C++.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace scorenet {

/// The upper one of two middles. REQUIRES a value.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace scorenet
