// Converts number types by plain loops, since LibTorch's conversions wake other threads.
#pragma once

#include <torch/types.h>

namespace scorenet::transform {

/// x as float64 (float32) on the CPU, contiguous; x itself if it is that already. A plain loop
/// converts uint8 and floating-point numbers.
torch::Tensor as_float64(const torch::Tensor& x);
torch::Tensor as_float32(const torch::Tensor& x);

}  // namespace scorenet::transform
