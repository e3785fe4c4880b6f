// z_s = (a_s / a_t) (z - c s_t eh) + s_s sqrt(c) n,   c = -expm1(gamma_s - gamma_t).
#include <ATen/ATen.h>

#include <cmath>

#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {

torch::Tensor sample_ancestral(SamplerRun& run, const Grid& grid, torch::Tensor x) {
  for (size_t i = 0; i + 1 < grid.size(); ++i) {
    const GridPoint &t = grid[i], &s = grid[i + 1];
    const double c = -std::expm1(t.log_snr - s.log_snr);
    const Denoised hat = run.denoiser(x, t);
    x = (s.alpha / t.alpha) * (x - (c * t.sigma) * hat.eps) +
        (s.sigma * std::sqrt(c)) * run.noise(static_cast<int64_t>(i));
  }
  return x;
}

}  // namespace scorenet::diffusion
