// Other types of number, by plain loops: LibTorch's own conversions wake other threads.
#pragma once

#include <torch/types.h>

namespace scorenet::transform {

/// x as float64 (float32) on the CPU, contiguous: x itself where it is that already. Of uint8 and
/// floating-point numbers by a plain loop.
torch::Tensor as_float64(const torch::Tensor& x);
torch::Tensor as_float32(const torch::Tensor& x);

}  // namespace scorenet::transform
