// The times at which a sampler with fixed steps stops, and the schedule's values there.
//
//     uniform   t_i = t_max + (i / N) (t_min - t_max)
//     log-snr   log_snr_i = log_snr(t_max) + (i / N) (log_snr(t_min) - log_snr(t_max))
//     edm       s_i = (s_max^(1/rho) + (i / N) (s_min^(1/rho) - s_max^(1/rho)))^rho,
//               s = sigma / alpha
//
// edm: Karras et al. 2022, 2206.00364, eq. 5, where rho is 7. EDM's own grid has N points and then
// 0: its N is our N - 1 steps followed by `--final denoised`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {

/// One time as plain numbers. f = d log alpha / dt and g^2 are those of the forward SDE dx = f x dt
/// + g dw.
struct GridPoint {
  double t;
  double alpha;
  double sigma;
  double log_snr;
  double f;
  double g_squared;
};

/// steps + 1 points from t_max down to t_min, both exact. Throws ConfigError if steps < 1, or if
/// spacing is none of "uniform", "log-snr" and "edm".
std::vector<GridPoint> time_grid(const Schedule& schedule, int64_t steps,
                                 const std::string& spacing, double rho = 7);

/// The point whose noise in the unscaled space, sigma / alpha, is given.
GridPoint point_at_edm_sigma(const Schedule& schedule, double edm_sigma);

/// sigma / alpha: the noise level of y = x / alpha.
double edm_sigma(const GridPoint& point);

}  // namespace scorenet::diffusion
