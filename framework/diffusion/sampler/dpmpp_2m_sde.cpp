//     z_s = (s_s / s_t) e^{-hbar h} z + a_s (1 - e^{-(1 + hbar) h}) Dh
//           + s_s sqrt(1 - e^{-2 hbar h}) n,
//     Dh  = xh + h / (2 h_prev) (xh - xh_prev).
//
// hbar is the knob of the reverse family, its value at t: for a constant xh the step is exact
// for every hbar.
#include <ATen/ATen.h>

#include <cmath>

#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {

torch::Tensor sample_dpmpp_2m_sde(SamplerRun& run, const Grid& grid, torch::Tensor x) {
  const size_t steps = grid.size() - 1;
  torch::Tensor x0_previous;
  double h_previous = 0;
  for (size_t i = 0; i < steps; ++i) {
    const GridPoint &t = grid[i], &s = grid[i + 1];
    const double hbar = hbar_at(run.options.hbar_shape, run.options.hbar, t.t);
    const double h = (s.log_snr - t.log_snr) / 2;
    const torch::Tensor x0 = run.denoiser(x, t).x0;
    const bool first_order = i == 0 || (i + 1 == steps && steps < 15);
    const torch::Tensor d = first_order ? x0 : x0 + (h / (2 * h_previous)) * (x0 - x0_previous);
    x = (s.sigma / t.sigma * std::exp(-hbar * h)) * x - (s.alpha * std::expm1(-(1 + hbar) * h)) * d;
    if (hbar > 0) {
      x = x +
          (s.sigma * std::sqrt(-std::expm1(-2 * hbar * h))) * run.noise(static_cast<int64_t>(i));
    }
    x0_previous = x0;
    h_previous = h;
  }
  return x;
}

}  // namespace scorenet::diffusion
