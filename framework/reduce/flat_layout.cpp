#include "framework/reduce/flat_layout.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "framework/core/error.hpp"

namespace scorenet::reduce {

std::vector<int64_t> FlatLayout::order() const {
  std::vector<int64_t> result(offsets.size());
  std::iota(result.begin(), result.end(), 0);
  // A parameter without elements shares its offset with the next one and comes before it.
  std::stable_sort(result.begin(), result.end(), [this](int64_t a, int64_t b) {
    return std::pair(offsets[size_t(a)], sizes[size_t(a)]) <
           std::pair(offsets[size_t(b)], sizes[size_t(b)]);
  });
  return result;
}

FlatLayout make_flat_layout(const std::vector<int64_t>& sizes, int64_t alignment) {
  std::vector<int64_t> reverse(sizes.size());
  std::iota(reverse.rbegin(), reverse.rend(), 0);
  return make_flat_layout(sizes, reverse, alignment);
}

FlatLayout make_flat_layout(const std::vector<int64_t>& sizes, const std::vector<int64_t>& order,
                            int64_t alignment) {
  if (alignment < 1) {
    throw ShapeError("flat layout: alignment " + std::to_string(alignment) + " must be >= 1.");
  }
  std::vector<int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  std::vector<int64_t> all(sizes.size());
  std::iota(all.begin(), all.end(), 0);
  if (sorted != all) {
    throw ShapeError("flat layout: the order of " + std::to_string(order.size()) +
                     " entries is no permutation of the " + std::to_string(sizes.size()) +
                     " parameters.");
  }
  FlatLayout layout{std::vector<int64_t>(sizes.size()), sizes, 0};
  for (const int64_t i : order) {
    const int64_t size = sizes[size_t(i)];
    if (size < 0) {
      throw ShapeError("flat layout: parameter " + std::to_string(i) + " has " +
                       std::to_string(size) + " elements.");
    }
    layout.offsets[size_t(i)] = layout.total;
    layout.total += (size + alignment - 1) / alignment * alignment;
  }
  return layout;
}

}  // namespace scorenet::reduce
