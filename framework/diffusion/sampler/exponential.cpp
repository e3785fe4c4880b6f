//     z_s = (a_s / a_t) z - s_s expm1(h) eh
//
// The linear part of the probability-flow ODE is exact, eh is held over the step. Equal to ddim
// with eta = 0 in exact arithmetic; written in eps it is the DEIS family's member of order zero.
#include <ATen/ATen.h>

#include <cmath>

#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {

torch::Tensor sample_exponential(SamplerRun& run, const Grid& grid, torch::Tensor x) {
  for (size_t i = 0; i + 1 < grid.size(); ++i) {
    const GridPoint &t = grid[i], &s = grid[i + 1];
    const double h = (s.log_snr - t.log_snr) / 2;
    x = (s.alpha / t.alpha) * x - (s.sigma * std::expm1(h)) * run.denoiser(x, t).eps;
  }
  return x;
}

}  // namespace scorenet::diffusion
