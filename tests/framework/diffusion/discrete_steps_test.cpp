// The levels of numbered steps against products written out, and against the continuous
// schedules they approximate.
#include "framework/diffusion/discrete_steps.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "framework/core/error.hpp"
#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {
namespace {

double log_odds(double a) { return std::log(a / (1 - a)); }

TEST(DiscreteSteps, OfThreeLinearBetas) {
  // beta = 0.1, 0.2, 0.3: products 0.9, 0.72, 0.504.
  const auto levels = log_snr_of_steps({3, "linear", 0.1, 0.3});
  ASSERT_EQ(levels.size(), 3U);
  EXPECT_NEAR(levels[0], log_odds(0.9), 1e-13);
  EXPECT_NEAR(levels[1], log_odds(0.72), 1e-13);
  EXPECT_NEAR(levels[2], log_odds(0.504), 1e-13);
}

TEST(DiscreteSteps, OfThreeScaledLinearBetas) {
  // Roots 0.1, 0.2, 0.3: beta = 0.01, 0.04, 0.09.
  const auto levels = log_snr_of_steps({3, "scaled_linear", 0.01, 0.09});
  EXPECT_NEAR(levels[2], log_odds(0.99 * 0.96 * 0.91), 1e-13);
}

TEST(DiscreteSteps, OfThreeSigmoidBetas) {
  // 1 / (1 + e^-y) at y = -6, 0, 6 is u, 1/2, 1 - u.
  const double u = 1 / (1 + std::exp(6.0));
  const auto betas = betas_of_steps({3, "sigmoid", 0.1, 0.3});
  EXPECT_NEAR(betas[0], 0.1 + 0.2 * u, 1e-14);
  EXPECT_NEAR(betas[1], 0.2, 1e-14);
  EXPECT_NEAR(betas[2], 0.3 - 0.2 * u, 1e-14);
}

TEST(DiscreteSteps, TheSquaredCosinesProductTelescopes) {
  // Without the cap A_i = f((i + 1) / n) / f(0).
  const int64_t n = 100;
  const auto f = [n](double k) {
    return std::pow(std::cos(M_PI / 2 * (k / n + 0.008) / 1.008), 2);
  };
  const auto levels = log_snr_of_steps({n, "squared_cosine"});
  for (const int64_t i : {0, 49, 97})
    EXPECT_NEAR(levels[static_cast<size_t>(i)], log_odds(f(static_cast<double>(i + 1)) / f(0)),
                1e-9);
}

TEST(DiscreteSteps, AThousandLinearOnesLieOnVpLinear) {
  // The sum of log(1 - beta_i) is -integral of beta to O(1 / n): step i stands at t = (i + 1) / n.
  ScheduleOptions options;
  options.name = "vp_linear";
  const auto schedule = make_schedule(options);
  const auto levels = log_snr_of_steps({1000, "linear", 1e-4, 0.02});
  for (const int64_t i : {99, 499, 999}) {
    const auto t = torch::tensor({static_cast<double>(i + 1) / 1000}, torch::kFloat64);
    EXPECT_NEAR(levels[static_cast<size_t>(i)], schedule->log_snr(t).item<double>(), 0.12) << i;
  }
}

std::string message(const DiscreteSteps& discrete) {
  try {
    log_snr_of_steps(discrete);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(DiscreteSteps, WhatDoesNotFitIsNamed) {
  using testing::HasSubstr;
  EXPECT_THAT(message({1, "linear"}), HasSubstr("1, must be at least 2"));
  EXPECT_THAT(message({10, "cubic"}),
              testing::AllOf(HasSubstr("cubic"), HasSubstr("squared_cosine")));
  EXPECT_THAT(message({10, "linear", 0.02, 0.01}), HasSubstr("0.02"));
}

}  // namespace
}  // namespace scorenet::diffusion
