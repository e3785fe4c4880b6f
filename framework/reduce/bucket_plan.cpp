#include "framework/reduce/bucket_plan.hpp"

#include <algorithm>
#include <string>

#include "framework/core/error.hpp"

namespace scorenet::reduce {
namespace {

/// Elements from the start of the k-th parameter in `order` to the start of the next one.
int64_t extent(const FlatLayout& layout, const std::vector<int64_t>& order, size_t k) {
  const int64_t end = k + 1 < order.size() ? layout.offsets[size_t(order[k + 1])] : layout.total;
  return end - layout.offsets[size_t(order[k])];
}

/// Where the last bucket begins: as many parameters from the end as fit its cap, at least one.
size_t begin_of_last(const FlatLayout& layout, const std::vector<int64_t>& order,
                     int64_t cap_elements) {
  size_t begin = order.size() - 1;
  int64_t held = extent(layout, order, begin);
  while (begin > 0 && held + extent(layout, order, begin - 1) <= cap_elements) {
    held += extent(layout, order, --begin);
  }
  return begin;
}

}  // namespace

std::vector<Bucket> plan_buckets(const FlatLayout& layout, int64_t element_bytes,
                                 const BucketCaps& caps) {
  if (std::min({caps.cap_bytes, caps.first_bytes, caps.last_bytes}) < 1) {
    throw ConfigError("comm bucket caps " + std::to_string(caps.cap_bytes) + ", " +
                      std::to_string(caps.first_bytes) + ", " + std::to_string(caps.last_bytes) +
                      " bytes: each must be >= 1.");
  }
  const std::vector<int64_t> order = layout.order();
  std::vector<Bucket> buckets;
  if (order.empty()) return buckets;
  const size_t last = begin_of_last(layout, order, caps.last_bytes / element_bytes);
  for (size_t k = 0; k < order.size(); ++k) {
    const int64_t size = extent(layout, order, k);
    const int64_t cap =
        (buckets.size() <= 1 ? std::min(caps.first_bytes, caps.cap_bytes) : caps.cap_bytes) /
        element_bytes;
    // From `last` on everything belongs to the last bucket, whose own cap was kept above.
    const bool full =
        buckets.empty() || k == last || (k < last && buckets.back().count + size > cap);
    if (full) buckets.push_back({layout.offsets[size_t(order[k])], 0, {}});
    buckets.back().count += size;
    buckets.back().parameters.push_back(order[k]);
  }
  return buckets;
}

BucketedLayout spread_buckets(const FlatLayout& layout, const std::vector<Bucket>& buckets,
                              int64_t multiple) {
  if (multiple < 1) {
    throw ShapeError("buckets in multiples of " + std::to_string(multiple) +
                     " elements: must be >= 1.");
  }
  BucketedLayout spread{layout, buckets};
  spread.layout.total = 0;
  for (Bucket& bucket : spread.buckets) {
    const int64_t moved = spread.layout.total - bucket.offset;
    for (const int64_t p : bucket.parameters) spread.layout.offsets[size_t(p)] += moved;
    bucket.offset += moved;
    bucket.count = (bucket.count + multiple - 1) / multiple * multiple;
    spread.layout.total += bucket.count;
  }
  return spread;
}

}  // namespace scorenet::reduce
