// The multistep solver of the flow, against closed forms and against Dormand-Prince.
#include "framework/diffusion/likelihood/adams_flow.hpp"

#include <cmath>

#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using namespace test;

constexpr OdeLikelihoodOptions kTight{.exact_trace = true, .rtol = 1e-11, .atol = 1e-11};

OdeLikelihoodOptions adams(int64_t steps) {
  return {.exact_trace = true, .steps = steps, .adams = true};
}

OdeLikelihoodOptions adams_to(double tolerance) {
  return {.exact_trace = true, .adams = true, .tolerance = tolerance};
}

std::shared_ptr<const GaussianMixture> two_hills() {
  return mixture_1d({0.3, 0.7}, {-1.0, 0.8}, {0.1, 0.2});
}

TEST(AdamsFlow, IsTheAdaptiveValueUnderEverySchedule) {
  const auto denoiser = make_mixture_denoiser(gaussian({0.5, -0.2}, {0.25, 0.04}));
  const auto x = torch::tensor({{0.5, -0.2}, {0.0, 0.3}, {1.4, -0.6}}, torch::kFloat64);
  for (const auto& name : schedule_names()) {
    if (name == "vdm_learned") continue;  // not built from options alone
    const auto schedule = schedule_named(name);
    const auto expected = ode_likelihood(denoiser, *schedule, x, {0, 1, 2}, kTight);
    const auto result = ode_likelihood(denoiser, *schedule, x, {0, 1, 2}, adams(512));
    expect_close(result.nats, expected.nats, 2e-5, name);
    expect_close(result.term("prior"), expected.term("prior"), 2e-5, name + ", prior");
  }
}

TEST(AdamsFlow, TheErrorFallsWithTheThirdPowerOfTheStep) {
  const auto denoiser = make_mixture_denoiser(two_hills());
  const auto schedule = schedule_named("vp_linear");
  const auto x = doubles({0.4, 1.1, -0.9}).unsqueeze(1);
  const auto exact = ode_likelihood(denoiser, *schedule, x, {0, 1, 2}, kTight).nats;
  const auto error = [&](int64_t steps) {
    const auto nats = ode_likelihood(denoiser, *schedule, x, {0, 1, 2}, adams(steps)).nats;
    return (nats - exact).square().mean().sqrt().item<double>();
  };
  const double order = std::log2(error(256) / error(512));
  EXPECT_GT(order, 2.7);
  EXPECT_LT(error(512), 1e-5);
}

TEST(AdamsFlow, AConstantNoiseEstimateIsIntegratedExactlyInAnyNumberOfSteps) {
  // eps_hat = c: y(end) = y(start) + c (sigma / alpha at the end - at the start), no divergence.
  const auto schedule = schedule_named("vp_cosine");
  const auto x = doubles({0.4, -1.1}).unsqueeze(1);
  const EpsField constant = [](const torch::Tensor&, const torch::Tensor& at, const NoiseLevel&) {
    return EpsDivergence{torch::full_like(at, 0.7), torch::zeros({at.size(0)}, at.options())};
  };
  const auto first = schedule->at(schedule->t_min(), 2), last = schedule->at(schedule->t_max(), 2);
  const auto grown = last.sigma / last.alpha - first.sigma / first.alpha;
  const auto expected =
      last.alpha.unsqueeze(1) * (x / first.alpha.unsqueeze(1) + 0.7 * grown.unsqueeze(1));
  const auto rows = torch::arange(2);
  for (const int64_t steps : {1, 2, 3, 7}) {
    const FlowEnd end = adams_flow(constant, *schedule, rows, x, steps);
    expect_close(end.x, expected, 1e-9, std::to_string(steps));
    expect_close(end.volume, (last.alpha / first.alpha).log(), 1e-12, std::to_string(steps));
  }
}

TEST(AdamsFlow, OneEvaluationAStep) {
  int64_t calls = 0;
  const EpsField counted = [&](const torch::Tensor&, const torch::Tensor& at, const NoiseLevel&) {
    ++calls;
    return EpsDivergence{torch::zeros_like(at), torch::zeros({at.size(0)}, at.options())};
  };
  adams_flow(counted, *schedule_named("vp_linear"), torch::arange(1), doubles({1}).unsqueeze(1), 9);
  EXPECT_EQ(calls, 10);
  test::expect_error<ConfigError>(
      [&] {
        adams_flow(counted, *schedule_named("vp_linear"), torch::arange(1),
                   doubles({1}).unsqueeze(1), 0);
      },
      "adams: 0 steps");
}

TEST(AdamsFlow, DoublingEndsWithinTheToleranceAndSaysHowFarItMoved) {
  const auto denoiser = make_mixture_denoiser(two_hills());
  const auto schedule = schedule_named("vp_linear");
  const auto x = torch::linspace(-1.5, 1.5, 9, torch::kFloat64).unsqueeze(1);
  const auto slots = slot_range(0, 9);
  const auto exact = ode_likelihood(denoiser, *schedule, x, slots, kTight).nats;
  double before = 0;
  for (const double tolerance : {1e-2, 1e-3, 1e-4}) {
    const auto result = ode_likelihood(denoiser, *schedule, x, slots, adams_to(tolerance));
    EXPECT_LE((result.nats - exact).abs().max().item<double>(), tolerance);
    EXPECT_LE(result.solver_error.max().item<double>(), tolerance);
    EXPECT_GT(result.solver_error.max().item<double>(), tolerance / 1000);
    // 17 + 33 evaluations at least, and more for a finer tolerance.
    EXPECT_GE(result.nfe.min().item<double>(), 50);
    EXPECT_GT(result.nfe.mean().item<double>(), before);
    before = result.nfe.mean().item<double>();
  }
}

TEST(AdamsFlow, AnExampleThatIsFineLeavesTheBatchAndDependsOnNothingElseInIt) {
  const auto schedule = schedule_named("vp_linear");
  const auto mixture = make_mixture_denoiser(mixture_1d({0.5, 0.5}, {-1, 1}, {0.05, 0.05}));
  int64_t rows = 0;
  const Denoiser counted = [&](const torch::Tensor& x, const NoiseLevel& level) {
    rows += x.size(0);
    return mixture(x, level);
  };
  const auto x = doubles({1.0, 0.1, 2.0}).unsqueeze(1);
  const auto together = ode_likelihood(counted, *schedule, x, {0, 1, 2}, adams_to(1e-4));
  EXPECT_EQ(static_cast<double>(rows), together.nfe.sum().item<double>());
  EXPECT_GT(together.nfe.max().item<double>(), together.nfe.min().item<double>());
  for (int64_t i = 0; i < 3; ++i) {
    const auto alone =
        ode_likelihood(mixture, *schedule, x.slice(0, i, i + 1), {i}, adams_to(1e-4));
    expect_close(alone.nats[0], together.nats[i], 1e-12);
    EXPECT_EQ(alone.nfe[0].item<double>(), together.nfe[i].item<double>());
  }
}

TEST(AdamsFlow, WhatDoesNotSettleIsSolvedWithStepsOfItsOwn) {
  // Hills so narrow that x = 0.02 takes its turn within a tenth of a step.
  const auto schedule = schedule_named("vp_linear");
  const auto denoiser = make_mixture_denoiser(mixture_1d({0.5, 0.5}, {-1, 1}, {0.0001, 0.0001}));
  const auto x = doubles({0.02, 1.0}).unsqueeze(1);
  const auto exact = ode_likelihood(denoiser, *schedule, x, {0, 1}, kTight).nats;
  const auto result = ode_likelihood(denoiser, *schedule, x, {0, 1}, adams_to(1e-3));
  EXPECT_TRUE(std::isnan(result.solver_error[0].item<double>()));
  EXPECT_FALSE(std::isnan(result.solver_error[1].item<double>()));
  expect_close(result.nats, exact, 2e-2);  // Dormand-Prince at 1e-5
}

TEST(AdamsFlow, WhatIsNotFiniteHasFailed) {
  const auto schedule = schedule_named("vp_linear");
  const auto x = doubles({0.1, 100}).unsqueeze(1);
  const Denoiser second_is_nan = [](const torch::Tensor& at, const NoiseLevel& level) {
    const auto eps = at * torch::where(at.detach() > 50, std::nan(""), 0.5);
    return Denoised{(at - level.sigma.unsqueeze(1) * eps) / level.alpha.unsqueeze(1), eps};
  };
  const auto result = ode_likelihood(second_is_nan, *schedule, x, {0, 1}, adams_to(1e-3));
  EXPECT_TRUE(std::isnan(result.nats[1].item<double>()));
  EXPECT_FALSE(std::isnan(result.nats[0].item<double>()));
}

TEST(AdamsFlow, AToleranceOfZeroIsRefused) {
  const auto denoiser = make_mixture_denoiser(two_hills());
  test::expect_error<ConfigError>(
      [&] {
        ode_likelihood(denoiser, *schedule_named("vp_linear"), doubles({1}).unsqueeze(1), {0},
                       adams_to(0));
      },
      "must be > 0. Use a number of nats");
}

}  // namespace
}  // namespace scorenet::diffusion
