#include "framework/diffusion/sampler/time_grid.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "framework/core/error.hpp"

namespace scorenet::diffusion {
namespace {

std::vector<double> to_vector(const at::Tensor& values) {
  const at::Tensor flat = values.to(at::kCPU, at::kDouble).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

std::vector<GridPoint> points_at(const Schedule& schedule, const at::Tensor& t) {
  const auto times = to_vector(t);
  const auto log_alpha = to_vector(schedule.log_alpha(t));
  const auto log_snr = to_vector(schedule.log_snr(t));
  const auto f = to_vector(schedule.d_log_alpha(t));
  const auto g_squared = to_vector(schedule.g_squared(t));
  std::vector<GridPoint> points;
  for (size_t i = 0; i < times.size(); ++i) {
    points.push_back({times[i], std::exp(log_alpha[i]), std::exp(log_alpha[i] - log_snr[i] / 2),
                      log_snr[i], f[i], g_squared[i]});
  }
  return points;
}

// Log-SNRs such that s^(1/rho), with s = exp(-log_snr / 2), is evenly spaced.
at::Tensor edm_log_snr(double log_snr_start, double log_snr_end, int64_t steps, double rho) {
  const at::Tensor root = at::linspace(std::exp(-log_snr_start / 2 / rho),
                                       std::exp(-log_snr_end / 2 / rho), steps + 1, at::kDouble);
  return root.log() * (-2 * rho);
}

at::Tensor uniform_in_t(const Schedule& schedule, int64_t steps, double /*rho*/) {
  return at::linspace(schedule.t_max(), schedule.t_min(), steps + 1, at::kDouble);
}

// log_snr at t_max and t_min.
std::pair<double, double> log_snr_ends(const Schedule& schedule) {
  const at::Tensor ends = schedule.log_snr(uniform_in_t(schedule, 1, 0));
  return {ends[0].item<double>(), ends[1].item<double>()};
}

at::Tensor uniform_in_log_snr(const Schedule& schedule, int64_t steps, double /*rho*/) {
  const auto [start, end] = log_snr_ends(schedule);
  return schedule.time_of(at::linspace(start, end, steps + 1, at::kDouble));
}

at::Tensor edm_times(const Schedule& schedule, int64_t steps, double rho) {
  const auto [start, end] = log_snr_ends(schedule);
  return schedule.time_of(edm_log_snr(start, end, steps, rho));
}

struct Spacing {
  const char* name;
  at::Tensor (*times)(const Schedule& schedule, int64_t steps, double rho);
};

constexpr Spacing kSpacings[] = {
    {"uniform", uniform_in_t}, {"log-snr", uniform_in_log_snr}, {"edm", edm_times}};

at::Tensor grid_times(const Schedule& schedule, int64_t steps, const std::string& name,
                      double rho) {
  std::string known;
  for (const Spacing& spacing : kSpacings) {
    if (name == spacing.name) return spacing.times(schedule, steps, rho);
    known += (known.empty() ? "" : ", ") + std::string(spacing.name);
  }
  throw ConfigError("sampler spacing = \"" + name + "\": unknown. Use one of " + known +
                    "; trained-steps with ddim.");
}

}  // namespace

std::vector<GridPoint> time_grid(const Schedule& schedule, int64_t steps,
                                 const std::string& spacing, double rho) {
  if (steps < 1) {
    throw ConfigError("sampler steps = " + std::to_string(steps) + ": must be at least 1.");
  }
  at::Tensor times = grid_times(schedule, steps, spacing, rho).clone();
  // The inverse map rounds; the ends are the schedule's own.
  times[0] = schedule.t_max();
  times[steps] = schedule.t_min();
  return points_at(schedule, times);
}

GridPoint point_at_edm_sigma(const Schedule& schedule, double edm_sigma) {
  return points_at(schedule,
                   schedule.time_of(at::full({1}, -2 * std::log(edm_sigma), at::kDouble)))[0];
}

double edm_sigma(const GridPoint& point) { return std::exp(-point.log_snr / 2); }

}  // namespace scorenet::diffusion
