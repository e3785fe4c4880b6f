// How gradients are cut into buckets, one collective each.
//
// A bucket is a contiguous span of the flat gradient buffer (flat_layout.hpp), so nothing is
// copied. The first is small, so that traffic begins early (DDP: Li et al. 2020, arXiv:2006.15704,
// section 3.2). The last is small too, since its time cannot be hidden behind backward.
#pragma once

#include <cstdint>
#include <vector>

#include "framework/reduce/flat_layout.hpp"

namespace scorenet::reduce {

/// Bytes, each at least 1. The usual ones are the config's: comm.bucket_mb and its siblings.
struct BucketCaps {
  int64_t cap_bytes = 0;
  int64_t first_bytes = 0;
  int64_t last_bytes = 0;
};

struct Bucket {
  int64_t offset = 0;               // elements, into the flat buffer
  int64_t count = 0;                // elements, padding included
  std::vector<int64_t> parameters;  // registration indices, by ascending offset
};

/// Buckets by ascending offset that cover [0, layout.total) without gap or overlap. A bucket
/// exceeds its cap only by holding one parameter larger than it (a parameter is never split).
/// `element_bytes` is the size of a gradient's element. No parameters: no buckets. Throws
/// ConfigError for a cap below 1.
std::vector<Bucket> plan_buckets(const FlatLayout& layout, int64_t element_bytes,
                                 const BucketCaps& caps);

struct BucketedLayout {
  FlatLayout layout;
  std::vector<Bucket> buckets;
};

/// The same buckets moved apart so that each begins at and is a multiple of `multiple` elements
/// (shards.hpp), with the layout that goes with them. Throws ShapeError for a multiple below 1.
BucketedLayout spread_buckets(const FlatLayout& layout, const std::vector<Bucket>& buckets,
                              int64_t multiple);

}  // namespace scorenet::reduce
