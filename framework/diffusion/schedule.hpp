// Noise schedules: how much of the data is left at time t.
//
// x_t = alpha(t) x0 + sigma(t) eps with eps ~ N(0, I); t = 0 is the data, t = 1 is noise.
//     log_snr = log(alpha^2 / sigma^2)   falls with t; VDM's gamma is its negative (2107.00630)
//     dx = f x dt + g dw                 the forward SDE,
//     f = d log alpha / dt,   g^2 = -sigma^2 d log_snr / dt.
// A schedule is two functions, log_alpha and log_snr, with their derivatives, all in float64 and
// free of cancellation; everything else follows. The next schedule is one class in one file, its
// test, and one line in make_schedule.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "framework/diffusion/names.hpp"
#include "framework/diffusion/schedule_options.hpp"

namespace scorenet::diffusion {

/// Where a batch stands on the way from data to noise. All of shape (B), float64.
struct NoiseLevel {
  torch::Tensor alpha;
  torch::Tensor sigma;
  torch::Tensor log_snr;
};

class Schedule {
 public:
  /// [t_min, t_max]: the part of [0, 1] that is used. REQUIRES t_min < t_max.
  Schedule(double t_min, double t_max);
  virtual ~Schedule() = default;

  /// t: any shape, float64; so are the results.
  virtual torch::Tensor log_alpha(const torch::Tensor& t) const = 0;
  virtual torch::Tensor log_snr(const torch::Tensor& t) const = 0;
  /// d log_alpha / dt: the f of the forward SDE.
  virtual torch::Tensor d_log_alpha(const torch::Tensor& t) const = 0;
  /// d log_snr / dt, negative everywhere.
  virtual torch::Tensor d_log_snr(const torch::Tensor& t) const = 0;
  /// The time at which log_snr is reached. Bisection unless a schedule knows better.
  virtual torch::Tensor time_of(const torch::Tensor& log_snr) const;
  /// Variance of the schedule's own Gaussian prior at t_max: 1, or sigma_max^2 where the data
  /// is never shrunk.
  virtual double prior_variance() const { return 1.0; }

  double t_min() const { return t_min_; }
  double t_max() const { return t_max_; }

  NoiseLevel at(const torch::Tensor& t) const;
  /// The same for one time: tensors of shape (batch), all equal.
  NoiseLevel at(double t, int64_t batch) const;
  /// g^2 = -sigma^2 d log_snr / dt.
  torch::Tensor g_squared(const torch::Tensor& t) const;

 private:
  double t_min_;
  double t_max_;
};

/// t_min and t_max: (2) float64, made on the device.
torch::Tensor end_times(const Schedule& schedule, torch::Device device);

/// log_snr at t_min (clean) and t_max (noisy), as numbers.
struct LogSnrRange {
  double clean;
  double noisy;
};
LogSnrRange log_snr_range(const Schedule& schedule);

/// Throws ConfigError that lists the known names if options.name is none of them.
std::shared_ptr<const Schedule> make_schedule(const ScheduleOptions& options);

}  // namespace scorenet::diffusion
