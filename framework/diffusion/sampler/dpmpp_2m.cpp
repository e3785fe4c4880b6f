// z_s = (s_s / s_t) z - a_s expm1(-h) Dh,   Dh = xh + h / (2 h_prev) (xh - xh_prev).
//
// First order in the first step and, below 15 steps, in the last one (the paper's
// "lower order final").
#include <ATen/ATen.h>

#include <cmath>

#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {

torch::Tensor sample_dpmpp_2m(SamplerRun& run, const Grid& grid, torch::Tensor x) {
  const size_t steps = grid.size() - 1;
  torch::Tensor x0_previous;
  double h_previous = 0;
  for (size_t i = 0; i < steps; ++i) {
    const GridPoint &t = grid[i], &s = grid[i + 1];
    const double h = (s.log_snr - t.log_snr) / 2;
    const torch::Tensor x0 = run.denoiser(x, t).x0;
    const bool first_order = i == 0 || (i + 1 == steps && steps < 15);
    const torch::Tensor d = first_order ? x0 : x0 + (h / (2 * h_previous)) * (x0 - x0_previous);
    x = (s.sigma / t.sigma) * x - (s.alpha * std::expm1(-h)) * d;
    x0_previous = x0;
    h_previous = h;
  }
  return x;
}

}  // namespace scorenet::diffusion
