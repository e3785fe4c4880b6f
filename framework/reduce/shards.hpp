// Flat buffers shared out over the ranks (ZeRO stage 1: Rajbhandari et al. 2020, arXiv:1910.02054).
//
// The buffer is cut into segments (the reducer's buckets, or one for all), and rank r owns the r-th
// of n equal parts of each. A rank's part is one contiguous tensor, its pieces in the order of the
// segments. Gradients reach their owner by reduce-scatter, and updated weights reach all ranks by
// all-gather. Together this is the traffic of an all-reduce, and the optimizer's state on a rank
// shrinks by a factor of n.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/comm/communicator.hpp"

namespace scorenet::reduce {

/// Elements [offset, offset + count) of a flat buffer.
struct Segment {
  int64_t offset = 0;
  int64_t count = 0;
};

/// Elements [offset, offset + count) of the whole that are elements [part_offset, ...) of
/// this rank's part.
struct OwnedRange {
  int64_t offset = 0;
  int64_t count = 0;
  int64_t part_offset = 0;
};

/// What of `owned` lies in `stretch`, and where in the part.
std::vector<OwnedRange> within(const std::vector<OwnedRange>& owned, const Segment& stretch);

/// Elements of which a segment should be a multiple: every rank's piece then starts on
/// a cache line.
int64_t shardable_multiple(int ranks);

class Shards {
 public:
  /// Throws ShapeError, naming the segment, for a count that the number of ranks does not divide.
  /// `communicator` must outlive this and carry the buffers' memory.
  Shards(const std::vector<Segment>& segments, comm::Communicator& communicator);

  /// Elements a rank owns.
  int64_t count() const { return count_; }
  /// What this rank owns, one range a segment.
  const std::vector<OwnedRange>& owned() const { return owned_; }

  /// Copies this rank's part out of `whole` (total) into `part` (count()).
  void take(const torch::Tensor& whole, const torch::Tensor& part) const;
  /// Sums segment s of all ranks' `whole` into its piece of the owner's `part`;
  /// float32. Collective.
  comm::Work reduce(size_t s, const torch::Tensor& whole, const torch::Tensor& part,
                    const std::string& tag) const;
  /// Fills the segments of `whole` on all ranks with what each owns; float32. Collective.
  void gather(const torch::Tensor& part, const torch::Tensor& whole, const std::string& tag) const;
  /// The same without waiting for it: one work a segment.
  std::vector<comm::Work> start_gather(const torch::Tensor& part, const torch::Tensor& whole,
                                       const std::string& tag) const;

 private:
  std::vector<Segment> segments_;
  std::vector<OwnedRange> owned_;
  comm::Communicator& communicator_;
  int64_t count_ = 0;
};

}  // namespace scorenet::reduce
