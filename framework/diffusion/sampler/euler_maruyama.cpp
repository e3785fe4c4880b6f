//     dx = [f x - (1 + hbar) / 2 g^2 score] dt + sqrt(hbar) g dw
//
// Coefficients are taken at t, dt = t - s is that of the actual grid. Hirono, Tanaka, Fukushima
// 2024, 2403.11262, eq. 9: the drift with (1 + hbar) / 2 goes with the noise sqrt(hbar) and with no
// other; the Fokker-Planck equation forces it.
#include <ATen/ATen.h>

#include <cmath>

#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {

torch::Tensor sample_euler_maruyama(SamplerRun& run, const Grid& grid, torch::Tensor x) {
  for (size_t i = 0; i + 1 < grid.size(); ++i) {
    const GridPoint& t = grid[i];
    const double dt = t.t - grid[i + 1].t;
    const double hbar = hbar_at(run.options.hbar_shape, run.options.hbar, t.t);
    const torch::Tensor score = run.denoiser(x, t).eps / -t.sigma;
    x = x - dt * (t.f * x - ((1 + hbar) / 2 * t.g_squared) * score);
    if (hbar > 0) x = x + std::sqrt(hbar * t.g_squared * dt) * run.noise(static_cast<int64_t>(i));
  }
  return x;
}

}  // namespace scorenet::diffusion
