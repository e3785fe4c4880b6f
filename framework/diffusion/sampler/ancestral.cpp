// z_s = (a_s / a_t) (z - c s_t eh) + s_s sqrt(c) n,   c = -expm1(gamma_s - gamma_t).
//
// s_s^2 c is the posterior's variance beta_tilde. Where the network learned the variance
// (2102.09672, eq. 15), n is scaled by sqrt(v / beta_tilde) on top, a number for each dimension.
#include <ATen/ATen.h>

#include <cmath>

#include "framework/diffusion/learned_weights.hpp"
#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {
namespace {

torch::Tensor deviation_ratio(const torch::Tensor& raw, const GridPoint& t, const GridPoint& s) {
  const auto log_beta_ratio = at::full({}, 2.0 * std::log(t.sigma / s.sigma), raw.options());
  return (0.5 * learned_log_variance_ratio(raw, log_beta_ratio)).exp();
}

}  // namespace

torch::Tensor sample_ancestral(SamplerRun& run, const Grid& grid, torch::Tensor x) {
  for (size_t i = 0; i + 1 < grid.size(); ++i) {
    const GridPoint &t = grid[i], &s = grid[i + 1];
    const double c = -std::expm1(t.log_snr - s.log_snr);
    const Denoised hat = run.denoiser(x, t);
    torch::Tensor noise = (s.sigma * std::sqrt(c)) * run.noise(static_cast<int64_t>(i));
    if (hat.raw_variance.defined()) noise = noise * deviation_ratio(hat.raw_variance, t, s);
    x = (s.alpha / t.alpha) * (x - (c * t.sigma) * hat.eps) + noise;
  }
  return x;
}

}  // namespace scorenet::diffusion
