// Shared by the tests of the mathematics: known laws, schedules by name, comparisons.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "framework/diffusion/gaussian_mixture.hpp"
#include "framework/diffusion/schedule.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::test {

inline torch::Tensor doubles(const std::vector<double>& values) {
  return torch::tensor(values, torch::kFloat64);
}

inline std::shared_ptr<const diffusion::Schedule> schedule_named(const std::string& name) {
  diffusion::ScheduleOptions options;
  options.name = name;
  return diffusion::make_schedule(options);
}

/// n times from t_min to t_max, dense at both ends (log-SNR uniform).
inline torch::Tensor times_over_range(const diffusion::Schedule& schedule, int64_t n) {
  const double first = schedule.log_snr(doubles({schedule.t_min()})).item<double>();
  const double last = schedule.log_snr(doubles({schedule.t_max()})).item<double>();
  return schedule.time_of(torch::linspace(first, last, n, torch::kFloat64))
      .clamp(schedule.t_min(), schedule.t_max());
}

/// N(mean, diag(variances)).
inline std::shared_ptr<const diffusion::GaussianMixture> gaussian(
    const std::vector<double>& mean, const std::vector<double>& variances) {
  return std::make_shared<diffusion::GaussianMixture>(doubles({1.0}), doubles(mean).unsqueeze(0),
                                                      torch::diag(doubles(variances)).unsqueeze(0));
}

/// A one-dimensional mixture.
inline std::shared_ptr<const diffusion::GaussianMixture> mixture_1d(
    const std::vector<double>& weights, const std::vector<double>& means,
    const std::vector<double>& variances) {
  return std::make_shared<diffusion::GaussianMixture>(doubles(weights), doubles(means).unsqueeze(1),
                                                      doubles(variances).view({-1, 1, 1}));
}

/// |a - b| <= tolerance * max(1, |b|) everywhere.
inline void expect_close(const torch::Tensor& a, const torch::Tensor& b, double tolerance,
                         const std::string& what = "") {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const auto error = ((a - b).abs() / b.abs().clamp_min(1.0)).max().item<double>();
  EXPECT_LE(error, tolerance) << what;
}

}  // namespace scorenet::test
