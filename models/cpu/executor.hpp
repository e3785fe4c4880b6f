// The U-Net on a CPU under autograd: forward, and backward to the weights, the input, or both.
// Convolutions compute in float32 or bfloat16, all else in float32. A layer's gradients are handed
// on while the layers before it are under way.
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
#include "models/score_network.hpp"

namespace scorenet::models::cpu {

/// Whether the kernels are compiled for this CPU and within the limit of instruction_limit.hpp.
/// float32: AVX2 with FMA, AVX-512, or NEON. bfloat16: AVX-512 with avx512_bf16; AMX is used where
/// it is there, too. Other types: no.
bool executor_available(torch::Dtype dtype);

/// What its products use on this CPU: "AVX-512" or "AMX", say; "" if it is not available.
std::string executor_unit(torch::Dtype dtype);

struct ExecutorCall {
  torch::Tensor x;     // (B, C, H, W), float32, which every level halves
  torch::Tensor time;  // (B, 4 channels[0]): the noise level's embedding behind its SiLU
  torch::Dtype dtype = torch::kFloat32;  // in which convolutions compute
  const BatchSlots* dropout = nullptr;   // null: none. Its device_slots must be undefined
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

  /// Returns (B, out_channels, H, W), float32. REQUIRES
  /// executor_available(call.dtype).
  torch::Tensor forward(const ExecutorCall& call);

 private:
  struct Plans;
  std::unique_ptr<Plans> plans_;
};

}  // namespace scorenet::models::cpu
