// The GPU route of the transformer: layer norm with an image's shift and scale, gated residuals
// and GELU behind a bias, in one kernel each, forward and backward.
//
// Tokens are (B, T, C), float32, bfloat16 or float16; sums are float32. Nothing waits for the
// device or reads host memory, so a CUDA graph may hold all of it. A repetition has the same bits.
// Second derivatives exist: they are ATen's (..._formula). All but the formulas REQUIRE
// has_token_route() of their tokens.
#pragma once

#include <torch/types.h>

#include <array>

namespace scorenet::models::kernels {

/// Whether this build and x's device have the kernels (CUDA, 8.0 and newer), and they take rows of
/// x's channels: x (B, T, C).
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

/// What attention takes of qkv (B, T, 3 C) = x W + bias: queries, keys and values, each
/// (B, heads, T, C / heads). The gradient of `bias` is made here, with that of qkv, so the caller
/// adds the bias detached.
std::array<torch::Tensor, 3> split_heads(const torch::Tensor& qkv, const torch::Tensor& bias,
                                         int64_t heads);

/// The first three by ATen's operations, for every device and dtype.
torch::Tensor modulated_norm_formula(const torch::Tensor& x, const torch::Tensor& shift,
                                     const torch::Tensor& scale, double eps);
torch::Tensor gated_sum_formula(const torch::Tensor& residual, const torch::Tensor& gate,
                                const torch::Tensor& h, const torch::Tensor& bias);
torch::Tensor gelu_behind_bias_formula(const torch::Tensor& h, const torch::Tensor& bias);

}  // namespace scorenet::models::kernels
