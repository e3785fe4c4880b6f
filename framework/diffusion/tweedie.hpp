// The covariance of x0 given x_t, which a denoiser implies, times a vector. The matrix itself is
// never formed.
//
// Second-order Tweedie: Cov(x0 given x_t) = (sigma^2 / alpha) J, J = d E[x0 given x_t] / d x_t
// (Efron 2011; Luo 2022, 2208.11970, sec. "Tweedie's formula" for the first order). For the exact
// denoiser J is symmetric, so both products below are the same; for a learned one their difference
// measures how far its score is from being a gradient.
#pragma once

#include <torch/types.h>

#include "framework/diffusion/denoiser.hpp"

namespace scorenet::diffusion {

/// E[x0 given x_t] = (x_t + sigma^2 score) / alpha as the denoiser estimates it, x_t's shape.
torch::Tensor posterior_mean(const Denoiser& denoiser, const torch::Tensor& x_t,
                             const NoiseLevel& level);

/// (sigma^2 / alpha) J^T v: one forward and one backward pass. v: x_t's shape
/// (ShapeError otherwise).
torch::Tensor posterior_covariance_vjp(const Denoiser& denoiser, const torch::Tensor& x_t,
                                       const NoiseLevel& level, const torch::Tensor& v);

/// (sigma^2 / alpha) J v, by differentiating J^T w in w: one forward and two backward passes.
torch::Tensor posterior_covariance_jvp(const Denoiser& denoiser, const torch::Tensor& x_t,
                                       const NoiseLevel& level, const torch::Tensor& v);

}  // namespace scorenet::diffusion
