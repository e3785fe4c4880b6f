// A backward pass through a planned network that stops after each layer. The layer's gradients are
// complete then, so ranks can sum them while the pass goes on through the layers before it.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "models/cpu/way.hpp"

namespace scorenet::models::cpu {

/// What a forward pass keeps for its backward pass. masks may be undefined.
struct ForwardState {
  torch::Tensor values, statistics, masks;
  std::shared_ptr<PackedWeights> packed;
};

/// Which gradients a backward pass makes.
struct Wanted {
  bool x = false, time = false, parameters = false;
};

struct BackwardInput {
  torch::Tensor d_y;      // (B, out channels, H, W)
  torch::Tensor x, time;  // the forward pass's, contiguous
  std::vector<torch::Tensor> parameters;
  ForwardState state;
  double dropout = 0;  // the forward pass's
  Wanted wanted{};
};

class BackwardPass {
 public:
  /// images_at_once: that go through all layers together. The network and its memory for gradients
  /// and sums must outlive the pass; state.packed->backward must be there.
  BackwardPass(const Network& network, const Arenas& gradients, const Arenas& sums,
               int64_t images_at_once, BackwardInput input);

  /// Goes on until the layer's gradients are complete. REQUIRES a call for each layer, once, from
  /// the last to the first. The first call runs all images but the last few through all layers.
  void to(int64_t layer);

  /// After to(layer): the gradients of parameters_of(layer); undefined if no parameter's is wanted.
  std::vector<torch::Tensor> parameters(int64_t layer) const;
  /// After to(0): the gradients of x and time; undefined if not wanted.
  torch::Tensor x() const { return way_.d_x; }
  torch::Tensor time() const { return d_time_; }

 private:
  struct Sums;
  void start();
  void sum_in_parts();
  void sum_once();
  Pass pass_of(int64_t first, int64_t images, const Sums& sums, torch::Tensor& memory) const;
  void back_over(int64_t first, int64_t images, const Sums& sums) const;
  void copy_input_gradient(const Pass& pass, int64_t first) const;
  void finish();

  const Network& network_;
  const Arenas& gradients_;
  const Arenas& arena_of_sums_;
  int64_t at_once_;
  BackwardInput in_;
  Way way_;
  torch::Tensor sums_, vectors_;  // gradients of weights; of biases and norms, float64
  torch::Tensor d_time_;

  // The last images, which go through layer by layer. None: all have gone through at once.
  int64_t first_of_last_ = 0;
  Pass last_;
  torch::Tensor memory_of_last_;
};

}  // namespace scorenet::models::cpu
