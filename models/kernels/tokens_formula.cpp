#include "models/kernels/tokens.hpp"

namespace scorenet::models::kernels {

torch::Tensor modulated_norm_formula(const torch::Tensor& x, const torch::Tensor& shift,
                                     const torch::Tensor& scale, double eps) {
  const torch::Tensor normed = torch::layer_norm(x, {x.size(-1)}, {}, {}, eps);
  return normed * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1);
}

torch::Tensor gated_sum_formula(const torch::Tensor& residual, const torch::Tensor& gate,
                                const torch::Tensor& h, const torch::Tensor& bias) {
  return residual + gate.unsqueeze(1) * (h + bias.to(h.scalar_type()));
}

torch::Tensor gelu_behind_bias_formula(const torch::Tensor& h, const torch::Tensor& bias) {
  return torch::gelu(h + bias.to(h.scalar_type()), "tanh");
}

}  // namespace scorenet::models::kernels
