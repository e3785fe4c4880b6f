// The passes over tokens that the transformer's route (tokens.hpp) asks of a kind of device. They
// know nothing of autograd: tokens.cpp makes nodes of them.
//
// Tokens are (B, T, C), a row of (B, C) modulates an image, a bias is (C) in float32. All tensors
// are dense but for the rows, which may lie apart, and the heads that are joined.
#pragma once

#include <torch/types.h>

#include <array>

namespace scorenet::models::kernels {

class TokenDevice {
 public:
  virtual ~TokenDevice() = default;

  /// Whether this device has the kernels, and they take x's channels and type.
  virtual bool takes(const torch::Tensor& x) const = 0;

  /// modulated_norm() of tokens.hpp: y, and what the backward pass needs of each token.
  struct Normed {
    torch::Tensor y, statistics;
  };
  virtual Normed norm(const torch::Tensor& x, const torch::Tensor& shift,
                      const torch::Tensor& scale, double eps) const = 0;

  /// The gradient in an input (B, T, C), and two sums over each image's tokens, (B, 2, C), float32.
  struct ImageGradient {
    torch::Tensor d_x, sums;
  };
  /// The sums are those of d_y and of d_y x_hat. d_beside is added to d_x; it may be undefined.
  virtual ImageGradient norm_gradient(const torch::Tensor& x, const torch::Tensor& scale,
                                      const torch::Tensor& statistics, const torch::Tensor& d_y,
                                      const torch::Tensor& d_beside) const = 0;

  /// gated_sum() of tokens.hpp.
  virtual torch::Tensor gate(const torch::Tensor& residual, const torch::Tensor& gate,
                             const torch::Tensor& h, const torch::Tensor& bias) const = 0;
  /// d_x is the gradient of h. The sums are those of d_y (h + bias) and of d_y.
  virtual ImageGradient gate_gradient(const torch::Tensor& gate, const torch::Tensor& h,
                                      const torch::Tensor& bias,
                                      const torch::Tensor& d_y) const = 0;

  /// gelu_behind_bias() of tokens.hpp.
  virtual torch::Tensor gelu(const torch::Tensor& h, const torch::Tensor& bias) const = 0;

  /// A gradient, and its sums over all tokens in float32: the bias's gradient.
  struct BiasGradient {
    torch::Tensor d_x, d_bias;
  };
  virtual BiasGradient gelu_gradient(const torch::Tensor& h, const torch::Tensor& bias,
                                     const torch::Tensor& d_y) const = 0;

  /// Three tensors (B, heads, T, C / heads), of any strides, side by side: (B, T, 3 C).
  virtual BiasGradient join(const std::array<torch::Tensor, 3>& parts) const = 0;

  /// (R, C), float32 -> (C), the sum over rows in an order that the sizes alone fix.
  virtual torch::Tensor sum_rows(const torch::Tensor& table) const = 0;
};

/// Null in a build without the kernels: tokens_cuda.cpp or tokens_absent.cpp is linked.
const TokenDevice* gpu_tokens();

}  // namespace scorenet::models::kernels
