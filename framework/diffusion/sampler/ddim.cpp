//     z_s = a_s xh + sqrt(s_s^2 - w^2) eh + w n
//     w = eta s_s sqrt(c),   c = -expm1(gamma_s - gamma_t)
#include <ATen/ATen.h>

#include <cmath>

#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {

torch::Tensor sample_ddim(SamplerRun& run, const Grid& grid, torch::Tensor x) {
  const double eta = run.options.eta;
  for (size_t i = 0; i + 1 < grid.size(); ++i) {
    const GridPoint &t = grid[i], &s = grid[i + 1];
    const double c = -std::expm1(t.log_snr - s.log_snr);
    const Denoised hat = run.denoiser(x, t);
    x = s.alpha * hat.x0 + (s.sigma * std::sqrt(1 - eta * eta * c)) * hat.eps;
    if (eta > 0) x = x + (eta * s.sigma * std::sqrt(c)) * run.noise(static_cast<int64_t>(i));
  }
  return x;
}

}  // namespace scorenet::diffusion
