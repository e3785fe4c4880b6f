// The U-Net on a CPU in float32 as one autograd node: forward, and backward to the weights, the
// input, or both.
//
// The same function as the layers of blocks.hpp, which remain the reference. Where second
// derivatives are asked for, the backward pass is theirs. Several threads may call at once, and a
// forward pass may be followed by another before its backward pass. An image's result does not
// depend on the rest of its batch, and no result depends on the number of threads.
#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/options.hpp"

namespace scorenet::models::cpu {

/// Whether the kernels are compiled for this CPU: AVX2 with FMA, AVX-512, or NEON.
bool executor_available();

struct ExecutorCall {
  torch::Tensor x;     // (B, C, H, W), float32, which every level halves
  torch::Tensor time;  // (B, 4 channels[0]), float32: the noise level's embedding behind its SiLU
  /// The parameter of that name.
  std::function<torch::Tensor(const std::string& name)> parameter;
  /// The same function of x and time by layers that can be differentiated again. It may be kept
  /// until the backward pass.
  std::function<torch::Tensor(const torch::Tensor& x, const torch::Tensor& time)> reference;
};

class Executor {
 public:
  /// in_channels: of x. out_channels: of the result.
  Executor(const UNetOptions& options, int64_t in_channels, int64_t out_channels);
  ~Executor();

  /// Returns (B, out_channels, H, W), float32. REQUIRES executor_available().
  torch::Tensor forward(const ExecutorCall& call);

 private:
  struct Plans;
  std::unique_ptr<Plans> plans_;
};

}  // namespace scorenet::models::cpu
