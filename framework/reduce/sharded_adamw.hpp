// AdamW and EMA whose state is shared out over the ranks (ZeRO stage 1: Rajbhandari et al. 2020, arXiv:1910.02054).
//
// Rank r owns the r-th of n equal parts of the flat buffers: it receives that part of the summed gradient
// (reduce-scatter), updates its part of the weights, moments and EMA copies, and the weights are put together again
// (all-gather). Traffic is that of an all-reduce; memory for moments and EMA copies falls by n. State is read and
// written as whole vectors without padding, so checkpoints know nothing of the rank count.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "framework/comm/communicator.hpp"

namespace scorenet::reduce {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  std::vector<double> ema_decays{};  // one EMA copy each
};

/// State of all parameters, each tensor (total): free of the rank count.
struct AdamWState {
  int64_t step = 0;
  torch::Tensor first_moment;
  torch::Tensor second_moment;
  std::vector<torch::Tensor> ema;
};

/// The least multiple of `ranks` * 16 elements that holds `total`: how long sharded flat buffers must be.
int64_t sharded_total(int64_t total, int ranks);

class ShardedAdamW {
 public:
  /// flat_parameters: (sharded_total(total, n)), float32, on the CPU, equal on all ranks; its first `total` elements
  /// count. EMA copies start as the parameters. Throws ShapeError for another shape or type.
  ShardedAdamW(torch::Tensor flat_parameters, int64_t total, comm::Communicator& communicator,
               const AdamWOptions& options);

  /// Sums flat_gradient (as long as the parameters) over the ranks; each keeps its part. Returns the norm of the whole
  /// summed gradient, for clipping and for the decision whether it is finite. Collective.
  double reduce(const torch::Tensor& flat_gradient);
  /// One AdamW step with the gradient of the last reduce() times `gradient_scale`, then the EMA copies, then all ranks
  /// have all parameters again. Collective.
  void step(double learning_rate, double gradient_scale);

  /// The whole state on every rank, without padding. Collective.
  AdamWState state();
  /// From a state of any rank count; the parameters are the caller's. Throws ShapeError if a size differs.
  void load(const AdamWState& state);

 private:
  torch::Tensor gathered(const torch::Tensor& part);
  torch::Tensor part_of(const torch::Tensor& whole) const;

  torch::Tensor parameters_;  // all
  int64_t total_;
  comm::Communicator& communicator_;
  AdamWOptions options_;
  int64_t count_;           // elements of a part
  torch::Tensor mine_;      // this rank's part of parameters_, a view
  torch::Tensor gradient_;  // its part of the summed gradient
  torch::Tensor first_moment_;
  torch::Tensor second_moment_;
  std::vector<torch::Tensor> ema_;
  torch::Tensor step_;  // (), float32: what the fused kernel wants
};

}  // namespace scorenet::reduce
