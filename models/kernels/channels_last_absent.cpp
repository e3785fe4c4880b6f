// A build without CUDA, or without its compiler: ATen's operations are all there is.
#include "models/kernels/channels_last.hpp"

namespace scorenet::models::kernels {

bool has_gpu_route(const torch::Tensor&) { return false; }

torch::Tensor channels_last_norm(const torch::Tensor& x, const torch::Tensor& shift,
                                 const torch::Tensor& weight, const torch::Tensor& bias,
                                 const NormSettings& settings) {
  return channels_last_formula(x, shift, weight, bias, settings);
}

NormedInput channels_last_norm_keeping(const torch::Tensor& x, const torch::Tensor& weight,
                                       const torch::Tensor& bias, const NormSettings& settings) {
  return {channels_last_formula(x, {}, weight, bias, settings), x};
}

torch::Tensor add_bias_and_residual(const torch::Tensor& h, const torch::Tensor& bias,
                                    const torch::Tensor& residual) {
  const torch::Tensor y = h + bias.to(h.scalar_type()).view({1, -1, 1, 1});
  return residual.defined() ? y + residual : y;
}

torch::Tensor drop_by_slots(const torch::Tensor& x, const DeviceSlots& at, double probability) {
  const auto uniform = uniform_for_slots(at, x.sizes().slice(1), torch::kFloat32);
  return x * (uniform >= probability).to(x.scalar_type()).mul_(1.0 / (1.0 - probability));
}

}  // namespace scorenet::models::kernels
