// y = x / a, level = s / a.
//
// 1. Churn raises the level to (1 + gamma) level by fresh noise.
// 2. An Euler step goes to the next level along the slope d = (y - xh) / level = eh.
// 3. The step is taken again along the mean of the slopes at both ends.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {
namespace {

// EDM's gamma_i; sqrt(2) - 1 is the paper's bound: never more new noise than there is already.
double churn_gamma(const SamplerOptions& options, double level, size_t steps) {
  if (level < options.churn_min || level > options.churn_max) return 0;
  return std::min(options.churn / static_cast<double>(steps), std::sqrt(2.0) - 1);
}

}  // namespace

torch::Tensor sample_heun(SamplerRun& run, const Grid& grid, torch::Tensor x) {
  const double highest_level = edm_sigma(grid.front());
  torch::Tensor y = x / grid.front().alpha;
  for (size_t i = 0; i + 1 < grid.size(); ++i) {
    const GridPoint& next = grid[i + 1];
    GridPoint now = grid[i];
    const double level = edm_sigma(now);
    // The schedule ends at t_max, so the first step cannot be churned above it.
    const double raised =
        std::min(level * (1 + churn_gamma(run.options, level, grid.size() - 1)), highest_level);
    if (raised > level) {
      y = y + (std::sqrt(raised * raised - level * level) * run.options.churn_noise) *
                  run.noise(static_cast<int64_t>(i));
      now = point_at_edm_sigma(run.schedule, raised);
    }
    const double step = edm_sigma(next) - edm_sigma(now);
    const torch::Tensor slope = run.denoiser(now.alpha * y, now).eps;
    const torch::Tensor euler = y + step * slope;
    const torch::Tensor slope_next = run.denoiser(next.alpha * euler, next).eps;
    y = y + (step / 2) * (slope + slope_next);
  }
  return grid.back().alpha * y;
}

}  // namespace scorenet::diffusion
