// Draws of the time t for training, with their densities.
//
// Two steps: positions u in [0, 1), then a map from u to t by the inverse distribution function. So
// both kinds of positions, independent and stratified, work with every density. Positions are
// functions of (seed, step, slot, global batch): any number of ranks draws the same.
#pragma once

#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

#include "framework/core/random.hpp"
#include "framework/diffusion/loss_constants.hpp"
#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {

/// t and 1 / p(t), both (B) float64; p is a density on [t_min, t_max]. An expectation over t of
/// w(t) / p(t) is the integral of w over [t_min, t_max].
struct TimeSample {
  torch::Tensor t;
  torch::Tensor inverse_density;
};

/// Independent uniforms, one a slot: (slots.size()) float64. key.stream is replaced
/// by training_time.
torch::Tensor independent_positions(const RandomKey& key, const std::vector<int64_t>& slots);

/// Low discrepancy (VDM, Kingma et al. 2021, 2107.00630, app. I.1): u_i = (u0 + i / B) mod 1 with
/// one u0 for the global batch B and i = slot mod B. The mean over a batch is an unbiased,
/// stratified estimate of the integral. Throws ConfigError if global_batch < 1.
torch::Tensor stratified_positions(const RandomKey& key, const std::vector<int64_t>& slots,
                                   int64_t global_batch);

// Maps; `positions` (B) in [0, 1).

/// Uniform in t.
TimeSample uniform_times(const Schedule& schedule, const torch::Tensor& positions);

/// p(t) proportional to -d log_snr / dt: uniform in log-SNR (Song et al. 2021, 2101.09258,
/// sec. 4.4: their importance sampling is proportional to g^2 / sigma^2, which is the same).
TimeSample log_snr_times(const Schedule& schedule, const torch::Tensor& positions);

/// log(sigma / alpha) ~ N(mean, deviation^2), cut to the schedule's range (Karras et al. 2022,
/// 2206.00364, table 1: P_mean and P_std). REQUIRES deviation > 0. Throws ConfigError if the law
/// has no mass within the schedule's range.
TimeSample log_normal_times(const Schedule& schedule, const torch::Tensor& positions,
                            double mean = kLogSigmaMean, double deviation = kLogSigmaStd);

/// Density of log-SNR proportional to sigmoid(log_snr), which is alpha^2 where the variance is
/// preserved: the likelihood weight of the v-prediction is then constant (i-DODE, Zheng et al.
/// 2023, 2305.03935, sec. 4.2).
TimeSample v_importance_times(const Schedule& schedule, const torch::Tensor& positions);

/// A rule by its name, and the numbers of the one that has some.
struct TimeRule {
  TimeRule(const char* name_in) : name(name_in) {}               // NOLINT: a name is a rule
  TimeRule(std::string name_in, double mean_in = kLogSigmaMean,  // NOLINT
           double deviation_in = kLogSigmaStd)
      : name(std::move(name_in)), mean(mean_in), deviation(deviation_in) {}

  std::string name;
  double mean = kLogSigmaMean;      // of log_normal
  double deviation = kLogSigmaStd;  // the same
};

/// The rules of [diffusion] time_sampling: "uniform" (independent), "stratified" (uniform), and
/// "log_snr", "log_normal", "v_importance" (all stratified). Throws ConfigError that lists them.
TimeSample draw_times(const TimeRule& rule, const Schedule& schedule, const RandomKey& key,
                      const std::vector<int64_t>& slots, int64_t global_batch);

}  // namespace scorenet::diffusion
