// The GPU route of the U-Net: group norm with SiLU, and biases with residuals, on channels-last
// tensors in one kernel each, forward and backward.
//
// Channels-last: (B, C, H, W) whose memory is dense NHWC, float32, bfloat16 or float16; sums are
// float32. Nothing waits for the device or reads host memory, so a CUDA graph may hold all of it. A
// repetition has the same bits. Second derivatives exist: they are ATen's (channels_last_formula).
#pragma once

#include <torch/types.h>

#include "framework/core/random.hpp"

namespace scorenet::models::kernels {

struct NormSettings {
  int64_t groups = 1;
  double eps = 1e-5;
  bool silu = true;
};

/// Whether this build and x's device have the kernels (CUDA, 8.0 and newer) and x has one of the
/// three dtypes. x may have any layout; it is converted.
bool has_gpu_route(const torch::Tensor& x);

/// Group norm of x + shift, then SiLU if wanted. shift: (B, C), any dtype, or undefined; weight,
/// bias: (C), float32. Returns x's shape and dtype. REQUIRES has_gpu_route(x).
torch::Tensor channels_last_norm(const torch::Tensor& x, const torch::Tensor& shift,
                                 const torch::Tensor& weight, const torch::Tensor& bias,
                                 const NormSettings& settings);

/// The same, together with x itself, for blocks that add their input to their result: the norm's
/// own backward pass adds the gradient of `input` to x's.
struct NormedInput {
  torch::Tensor normed;
  torch::Tensor input;
};
NormedInput channels_last_norm_keeping(const torch::Tensor& x, const torch::Tensor& weight,
                                       const torch::Tensor& bias, const NormSettings& settings);

/// h + bias[c] + residual. bias: (C), float32; residual: as h, or undefined.
torch::Tensor add_bias_and_residual(const torch::Tensor& h, const torch::Tensor& bias,
                                    const torch::Tensor& residual);

/// x times an inverted dropout mask, 0 or 1 / (1 - probability), made of the uniforms that
/// uniform_for_slots(at, ...) draws for x in its logical order, whatever its layout. x: (B, ...).
torch::Tensor drop_by_slots(const torch::Tensor& x, const DeviceSlots& at, double probability);

/// channels_last_norm by ATen's operations, for every device and dtype: computed in float32, or
/// float64 if x is.
torch::Tensor channels_last_formula(const torch::Tensor& x, const torch::Tensor& shift,
                                    const torch::Tensor& weight, const torch::Tensor& bias,
                                    const NormSettings& settings);

}  // namespace scorenet::models::kernels
