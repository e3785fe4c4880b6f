#include "models/kernels/channels_last.hpp"

namespace scorenet::models::kernels {

torch::Tensor channels_last_formula(const torch::Tensor& x, const torch::Tensor& shift,
                                    const torch::Tensor& weight, const torch::Tensor& bias,
                                    const NormSettings& settings) {
  const torch::Dtype dtype = x.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  torch::Tensor u = x.to(dtype);
  if (shift.defined()) u = u + shift.to(dtype).unsqueeze(2).unsqueeze(3);
  const torch::Tensor z =
      at::group_norm(u, settings.groups, weight.to(dtype), bias.to(dtype), settings.eps);
  return (settings.silu ? at::silu(z) : z).to(x.scalar_type());
}

}  // namespace scorenet::models::kernels
