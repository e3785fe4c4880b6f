// The transformer's route of its own: layer norm with an image's shift and scale, gated residuals
// and GELU behind a bias, in one pass each, forward and backward, on GPUs and CPUs
// (token_device.hpp).
//
// Tokens are (B, T, C), float32, bfloat16 or, on a GPU, float16; sums are float32. On a GPU nothing
// waits for the device or reads host memory, so a CUDA graph may hold all of it. A repetition has
// the same bits. Second derivatives exist: they are ATen's (..._formula). All but the formulas
// REQUIRE has_token_route() of their tokens.
#pragma once

#include <torch/types.h>

#include <array>

namespace scorenet::models::kernels {

/// Whether this build and x's device have the kernels (CUDA 8.0 and newer; AVX2, AVX-512 or NEON),
/// and they take rows of x's channels and type: x (B, T, C).
bool has_token_route(const torch::Tensor& x);

/// Layer norm of each token without parameters of its own, times 1 + scale, plus shift; both
/// (B, C). Beside it x itself, for blocks that add their input to their result: the norm's own
/// backward pass adds the gradient of `input` to x's.
struct NormedTokens {
  torch::Tensor normed;
  torch::Tensor input;
};
NormedTokens modulated_norm(const torch::Tensor& x, const torch::Tensor& shift,
                            const torch::Tensor& scale, double eps);

/// residual + gate (h + bias); gate: (B, C), bias: (C), float32.
torch::Tensor gated_sum(const torch::Tensor& residual, const torch::Tensor& gate,
                        const torch::Tensor& h, const torch::Tensor& bias);

/// gelu(h + bias), the form with tanh; bias: (C), float32.
torch::Tensor gelu_behind_bias(const torch::Tensor& h, const torch::Tensor& bias);

/// Attention of the heads of qkv (B, T, 3 C) = x W, without the bias, which is added on the way:
/// (B, T, C). mixes_heads: whether the device has a pass for it that is faster than attend() of
/// what split_heads() gives; mix_heads REQUIRES it.
bool mixes_heads(const torch::Tensor& qkv);
torch::Tensor mix_heads(const torch::Tensor& qkv, const torch::Tensor& bias, int64_t heads);

/// What attention takes of qkv (B, T, 3 C) = x W + bias: queries, keys and values, each
/// (B, heads, T, C / heads). The gradient of `bias` is made here, with that of qkv, so the caller
/// adds the bias detached.
std::array<torch::Tensor, 3> split_heads(const torch::Tensor& qkv, const torch::Tensor& bias,
                                         int64_t heads);

/// By ATen's operations, for every device and dtype.
torch::Tensor modulated_norm_formula(const torch::Tensor& x, const torch::Tensor& shift,
                                     const torch::Tensor& scale, double eps);
torch::Tensor gated_sum_formula(const torch::Tensor& residual, const torch::Tensor& gate,
                                const torch::Tensor& h, const torch::Tensor& bias);
torch::Tensor gelu_behind_bias_formula(const torch::Tensor& h, const torch::Tensor& bias);
torch::Tensor mix_heads_formula(const torch::Tensor& qkv, const torch::Tensor& bias, int64_t heads);

}  // namespace scorenet::models::kernels
