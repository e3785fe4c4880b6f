// AdamW (Loshchilov & Hutter 2019, 1711.05101, algorithm 2) on flat buffers, with clipping by
// the global norm.
//
// At the k-th step:
//     m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2,
//     w = (1 - lr weight_decay) w - lr (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps).
#pragma once

#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

#include "framework/optim/adamw_options.hpp"
#include "framework/optim/flat_parameters.hpp"

namespace scorenet::optim {

/// Whether weight decay applies to a parameter: to matrices and kernels; biases and norms
/// (one dimension) never decay.
bool decays(const torch::Tensor& parameter);

/// The buffers that an AdamW works on: flat, of the same length. decayed: the views of
/// `weights` that decay.
struct AdamWTarget {
  torch::Tensor weights;
  torch::Tensor gradients;
  std::vector<torch::Tensor> decayed;
};

/// All weights of a network.
AdamWTarget whole_target(const FlatParameters& parameters);

class AdamW {
 public:
  /// Throws ConfigError naming the value that is out of range.
  AdamW(AdamWTarget target, const AdamWOptions& options);
  AdamW(const FlatParameters& parameters, const AdamWOptions& options)
      : AdamW(whole_target(parameters), options) {}

  /// Euclidean norm of the target's gradients, times gradient_scale. Not finite if any
  /// gradient is not.
  double gradient_norm(double gradient_scale = 1.0) const;

  /// One step with gradients gradient_scale * target.gradients, scaled down further so that their
  /// norm (`norm`, of all gradients that are clipped together) is at most clip_norm. Overwrites the
  /// gradients; zero them before the next pass.
  void step(double learning_rate, double norm, double gradient_scale = 1.0);

  /// The same with all decisions on the gradients' device, so that the host need not wait for it.
  /// All tensors are () there:
  struct DeviceStep {
    torch::Tensor learning_rate;        // float32
    torch::Tensor norm;                 // float64: gradient_norm_on_device(), times gradient_scale
    torch::Tensor apply;                // float32: 1, or 0 for a step that changes nothing
    torch::Tensor gradient_scale = {};  // float64; undefined: 1
  };
  torch::Tensor gradient_norm_on_device() const;
  void step(const DeviceStep& on_device);

  /// What a checkpoint saves, by name: tensors that share memory with this. Restore by
  /// copying into them.
  std::vector<std::pair<std::string, torch::Tensor>> state() const;
  int64_t steps_taken() const;

 private:
  AdamWTarget target_;
  AdamWOptions options_;
  torch::Tensor first_moment_;
  torch::Tensor second_moment_;
  // (), float32, as LibTorch's fused kernel wants it; exact up to 16.7 M steps
  torch::Tensor step_;
};

}  // namespace scorenet::optim
