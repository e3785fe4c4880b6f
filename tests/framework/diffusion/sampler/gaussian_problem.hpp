// Data x0 ~ N(mean, deviation^2) in one dimension, whose denoiser is affine: every sampler's
// output is then
//     x = offset + slope x_start + sum_i c_i n_i
// with n_i its draws, so that its mean and variance are found exactly by feeding it unit vectors
// instead of noise.
#pragma once

#include <torch/utils.h>

#include <cmath>

#include "framework/diffusion/sampler/sampler.hpp"

namespace scorenet::diffusion {

struct GaussianProblem {
  double mean = 0.3;
  double deviation = 0.5;
  double score_scale = 1.0;  // another value is a known wrong score

  double variance_at(const NoiseLevel& level) const {
    return std::pow(level.alpha[0].item<double>() * deviation, 2) +
           std::pow(level.sigma[0].item<double>(), 2);
  }

  // V = alpha^2 s^2 + sigma^2, eps = sigma (x - alpha mu) / V, x0 = (x - sigma eps) / alpha.
  Denoiser denoiser() const {
    return [*this](const torch::Tensor& x, const NoiseLevel& level) {
      std::vector<int64_t> column(static_cast<size_t>(x.dim()), 1);
      column[0] = -1;
      const auto alpha = level.alpha.view(column), sigma = level.sigma.view(column);
      const auto variance = alpha.square() * (deviation * deviation) + sigma.square();
      const auto eps = score_scale * sigma * (x - alpha * mean) / variance;
      return Denoised{(x - sigma * eps) / alpha, eps};
    };
  }
};

struct AffineOutcome {
  double offset;
  double slope;
  double noise_variance;
};

// Row 0 has no start and no noise, row 1 a unit start, row 2 + i a unit i-th draw.
inline AffineOutcome affine_outcome(const Denoiser& denoiser, const Schedule& schedule,
                                    const SamplerOptions& options, int64_t draws) {
  auto start = torch::zeros({2 + draws, 1}, torch::kFloat64);
  start[1] = 1;
  const auto unit_draw = [&](int64_t draw) {
    auto noise = torch::zeros({2 + draws, 1}, torch::kFloat64);
    noise[2 + draw] = 1;
    return noise;
  };
  const auto x = sample(denoiser, schedule, options, start, unit_draw).x.flatten();
  const auto response = x - x[0];
  return {x[0].item<double>(), response[1].item<double>(),
          response.slice(0, 2).square().sum().item<double>()};
}

}  // namespace scorenet::diffusion
