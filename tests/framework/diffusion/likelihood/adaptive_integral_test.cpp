// Integrals by two rules a panel: right to the tolerance wherever the integrand changes, and honest
// where it is not.
#include "framework/diffusion/likelihood/adaptive_integral.hpp"

#include <cmath>

#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using namespace test;

TEST(GaussKronrod, BothRulesAreExactToTheirDegreeAndNoFurther) {
  const PairedRule rule = gauss_kronrod();
  for (int degree = 0; degree <= 22; ++degree) {
    // int_-1^1 x^n dx = 2 / (n + 1) for even n, else 0.
    const double expected = degree % 2 ? 0 : 2.0 / (degree + 1);
    const auto powers = rule.nodes.pow(degree);
    EXPECT_NEAR((rule.weights * powers).sum().item<double>(), expected, 1e-14) << degree;
    if (degree <= 13) {
      EXPECT_NEAR((rule.coarse_weights * powers).sum().item<double>(), expected, 1e-14) << degree;
    }
  }
  EXPECT_GT(std::abs((rule.weights * rule.nodes.pow(24)).sum().item<double>() - 2.0 / 25), 1e-9);
  EXPECT_GT(std::abs((rule.coarse_weights * rule.nodes.pow(14)).sum().item<double>() - 2.0 / 15),
            1e-5);
}

TEST(AdaptiveIntegral, EachExampleHasItsOwnStepAndIsRightToTheTolerance) {
  // Of a step of height k at s_k in [-5, 13]: k (13 - s_k). A smooth one beside them costs
  // no panel more.
  const auto edges = doubles({-4.99, 0.1234567, 3.0, 12.9});
  int64_t smooth_calls = 0;
  const auto f = [&](const torch::Tensor& rows, const torch::Tensor& at) {
    const auto is_smooth = rows.eq(4);
    smooth_calls += is_smooth.sum().item<int64_t>();
    const auto edge = edges.index_select(0, rows.clamp_max(3));
    const auto step = (rows + 1).to(torch::kFloat64) * at.gt(edge).to(torch::kFloat64);
    return torch::where(is_smooth, at.square(), step);
  };
  const AdaptiveIntegral integral = integrate_on_panels(f, -5, 13, 5, 2, 1e-8);
  const auto expected = torch::cat(
      {doubles({1, 2, 3, 4}) * (13 - edges), doubles({(13.0 * 13 * 13 + 5.0 * 5 * 5) / 3})});
  expect_close(integral.value, expected, 1e-7);
  EXPECT_TRUE(integral.error.lt(1e-6 * expected).all().item<bool>());
  EXPECT_EQ(smooth_calls, 9 * 15);
}

TEST(AdaptiveIntegral, WhatNoHalvingMakesSmoothEndsWithALargeError) {
  // A sawtooth far finer than any panel: its integral is 1/2 of the length, which no sum of so few
  // points finds for sure.
  const auto f = [](const torch::Tensor&, const torch::Tensor& at) {
    const auto phase = at * 1e12;
    return phase - phase.floor();
  };
  const AdaptiveIntegral integral = integrate_on_panels(f, 0, 10, 1, 1, 1e-8);
  EXPECT_GT(integral.error.item<double>(), 1e-3);
  EXPECT_GE(integral.worst_at(0), 0);
  EXPECT_LE(integral.worst_at(0), 10);
}

TEST(AdaptiveIntegral, AnIntegrandThatIsNotFiniteSpoilsItsOwnExampleAlone) {
  const auto f = [](const torch::Tensor& rows, const torch::Tensor& at) {
    return torch::where(rows.eq(1), std::nan(""), at);
  };
  const AdaptiveIntegral integral = integrate_on_panels(f, 0, 2, 3, 1, 1e-8);
  EXPECT_TRUE(std::isnan(integral.value[1].item<double>()));
  expect_close(integral.value.index_select(0, torch::tensor({0, 2})), doubles({2, 2}), 1e-12);
}

}  // namespace
}  // namespace scorenet::diffusion
