// Which part of a range belongs to which rank: plain index arithmetic.
#pragma once

#include <cstdint>

namespace scorenet::data {

/// [begin, end).
struct Range {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

/// The contiguous part of [0, total) that rank `rank` of `world_size` owns. Parts are disjoint, in
/// rank order, cover the range, and differ in size by at most one (the first total % world_size
/// ranks have one more); a part may be empty. Throws ConfigError unless total >= 0 and
/// 0 <= rank < world_size.
Range shard(int64_t total, int rank, int world_size);

}  // namespace scorenet::data
