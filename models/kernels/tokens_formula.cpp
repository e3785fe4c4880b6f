#include <cmath>

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

torch::Tensor mix_heads_formula(const torch::Tensor& qkv, const torch::Tensor& bias,
                                int64_t heads) {
  const torch::Tensor whole = qkv + bias.to(qkv.scalar_type());
  const auto parts = whole.unflatten(2, {3, heads, -1}).permute({2, 0, 3, 1, 4}).unbind(0);
  const double scale = 1.0 / std::sqrt(static_cast<double>(parts[0].size(3)));
  const torch::Tensor weights = torch::matmul(parts[0] * scale, parts[1].transpose(2, 3));
  return torch::matmul(weights.softmax(-1), parts[2]).transpose(1, 2).flatten(2);
}

}  // namespace scorenet::models::kernels
