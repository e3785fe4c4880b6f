// Where each parameter lies in the flat buffers (parameters, gradients, moments, EMA): one layout
// for all of them.
//
// Parameters lie in the reverse of their registration order. That is close to the order in which
// backward finishes their gradients. So a bucket of the gradient reducer is one contiguous span,
// and buckets become complete one after the other, from the front.
#pragma once

#include <cstdint>
#include <vector>

namespace scorenet::reduce {

struct FlatLayout {
  std::vector<int64_t> offsets;  // elements; entry i belongs to the i-th registered parameter
  std::vector<int64_t> sizes;    // elements
  int64_t total = 0;             // elements of the flat buffer, padding included

  /// Parameter indices by ascending offset.
  std::vector<int64_t> order() const;
};

constexpr int64_t kFlatAlignment = 16;  // floats: one cache line

/// Layout of parameters of `sizes` elements (registration order). Every parameter starts at a
/// multiple of `alignment` elements. Padding holds zeros, and stays zero under any optimizer whose
/// update of a zero gradient and a zero weight is zero. `total` is a multiple of the alignment.
/// Throws ShapeError for a negative size or an alignment below 1.
FlatLayout make_flat_layout(const std::vector<int64_t>& sizes, int64_t alignment = kFlatAlignment);

/// The same with a given order of parameters: order[k] is the parameter that lies k-th (for
/// example the order that GradientReducer::observed_order() saw). Throws ShapeError unless `order`
/// is a permutation.
FlatLayout make_flat_layout(const std::vector<int64_t>& sizes, const std::vector<int64_t>& order,
                            int64_t alignment);

}  // namespace scorenet::reduce
