// What the two GPU routes share to call their kernels with tensors (channels_last_cuda.cpp,
// tokens_cuda.cpp).
#pragma once

#include <torch/types.h>

#include "models/kernels/channels_last_kernels.hpp"

namespace scorenet::models::kernels {

/// Throws Error for a launch that failed, naming the kernel.
void check_launch(LaunchError error, const char* kernel);

/// float32, bfloat16 or float16.
bool is_element(torch::Dtype dtype);
Element element_of(const torch::Tensor& x);

/// The current stream of x's device.
Stream stream_of(const torch::Tensor& x);

/// Not filled, float32, on the device of `like`.
torch::Tensor floats(const torch::Tensor& like, c10::IntArrayRef shape);
/// The numbers of a float32 tensor; null where it is undefined.
const float* numbers(const torch::Tensor& t);
float* numbers_to_fill(const torch::Tensor& t);

/// (R, ...) float32 -> the sum over dimension 0, in an order that the sizes alone fix.
torch::Tensor column_sums(const torch::Tensor& table);

}  // namespace scorenet::models::kernels
