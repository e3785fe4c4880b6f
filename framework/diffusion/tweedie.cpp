#include "framework/diffusion/tweedie.hpp"

#include <torch/autograd.h>
#include <torch/utils.h>

#include "framework/core/check.hpp"

namespace scorenet::diffusion {
namespace {

torch::Tensor covariance_scale(const NoiseLevel& level, const torch::Tensor& x_t) {
  return broadcast_to_batch((level.sigma.square() / level.alpha).to(x_t.options()), x_t);
}

}  // namespace

torch::Tensor posterior_mean(const Denoiser& denoiser, const torch::Tensor& x_t,
                             const NoiseLevel& level) {
  return denoiser(x_t, level).x0;
}

torch::Tensor posterior_covariance_vjp(const Denoiser& denoiser, const torch::Tensor& x_t,
                                       const NoiseLevel& level, const torch::Tensor& v) {
  check_same_shape(x_t, v, "posterior covariance: x_t and v");
  torch::AutoGradMode grad_mode(true);
  const auto x = x_t.detach().requires_grad_();
  const auto product = torch::autograd::grad({denoiser(x, level).x0}, {x}, {v.detach()})[0];
  return covariance_scale(level, x_t) * product;
}

torch::Tensor posterior_covariance_jvp(const Denoiser& denoiser, const torch::Tensor& x_t,
                                       const NoiseLevel& level, const torch::Tensor& v) {
  check_same_shape(x_t, v, "posterior covariance: x_t and v");
  torch::AutoGradMode grad_mode(true);
  const auto x = x_t.detach().requires_grad_();
  const auto w = torch::zeros_like(x).requires_grad_();
  const auto transposed = torch::autograd::grad({denoiser(x, level).x0}, {x}, {w}, true, true)[0];
  return covariance_scale(level, x_t) * torch::autograd::grad({transposed}, {w}, {v.detach()})[0];
}

}  // namespace scorenet::diffusion
