// Gradients that are bit-equal at any rank count: virtual shards and one fixed summation tree.
//
// The global batch is cut into V equal virtual shards by slot. Rank r of n computes shards r V/n ..
// (r+1) V/n - 1, each with the same tensor shapes whatever n is, and the V gradients are summed
// along one binary tree over the shard number: first inside a rank, then over the ranks. This is a
// mode for verification and debugging: each rank receives the partial sums of all others, (n-1)
// times the size of the gradient, where an all-reduce moves it twice.
//
//     CanonicalSum sum(flat_gradient, communicator, shards);
//     for (s = sum.first_shard(); s < sum.first_shard() + sum.shards(); ++s) {
//       flat_gradient.zero_(); loss(shard s).backward(); sum.add_shard();
//     }
//     sum.finish();                        // flat_gradient holds the sum over all V shards
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "framework/comm/communicator.hpp"

namespace scorenet::reduce {

class CanonicalSum {
 public:
  /// flat_gradient: (N), float32 or float64, where the communicator's memory is. Throws ConfigError
  /// unless virtual_shards is a power of two that the rank count divides.
  CanonicalSum(torch::Tensor flat_gradient, comm::Communicator& communicator,
               int64_t virtual_shards);

  int64_t first_shard() const { return first_; }
  /// How many shards this rank computes, one after the other.
  int64_t shards() const { return count_; }

  /// flat_gradient holds the next shard's gradient, which is taken up; its contents may be
  /// overwritten afterwards. Throws CommError if all shards have been added.
  void add_shard();
  /// Writes the total to flat_gradient on every rank and starts anew. Throws CommError if
  /// shards are missing.
  void finish();

 private:
  torch::Tensor flat_;
  comm::Communicator& communicator_;
  int64_t first_ = 0;
  int64_t count_ = 0;
  int64_t added_ = 0;
  // A binary counter: level k holds the sum of 2^k neighbouring shards, or nothing.
  std::vector<torch::Tensor> levels_;
};

}  // namespace scorenet::reduce
