// A build without CUDA, or without its compiler: ATen's operations are all there is.
#include "models/kernels/tokens.hpp"

namespace scorenet::models::kernels {

bool has_token_route(const torch::Tensor&) { return false; }

NormedTokens modulated_norm(const torch::Tensor& x, const torch::Tensor& shift,
                            const torch::Tensor& scale, double eps) {
  return {modulated_norm_formula(x, shift, scale, eps), x};
}

torch::Tensor gated_sum(const torch::Tensor& residual, const torch::Tensor& gate,
                        const torch::Tensor& h, const torch::Tensor& bias) {
  return gated_sum_formula(residual, gate, h, bias);
}

torch::Tensor gelu_behind_bias(const torch::Tensor& h, const torch::Tensor& bias) {
  return gelu_behind_bias_formula(h, bias);
}

std::array<torch::Tensor, 3> split_heads(const torch::Tensor& qkv, const torch::Tensor& /*bias*/,
                                         int64_t heads) {
  const auto parts = qkv.unflatten(2, {3, heads, -1}).permute({2, 0, 3, 1, 4}).unbind(0);
  return {parts[0], parts[1], parts[2]};
}

}  // namespace scorenet::models::kernels
