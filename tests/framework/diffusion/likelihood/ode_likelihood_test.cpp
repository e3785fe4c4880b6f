// The change of variables along the probability-flow ODE, against densities written down by hand.
#include <cmath>
#include <numbers>

#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using namespace test;

constexpr OdeLikelihoodOptions kTight{.exact_trace = true, .rtol = 1e-10, .atol = 1e-10};

// x0 ~ N(mu, diag(s2)): the flow from t_min to t_max takes x to alpha_1 mu + sqrt(V_1 / V_0)
// (x - alpha_0 mu), so
//     -log p(x) = -log N(x_T; 0, P) - 1/2 sum log(V_1 / V_0),   V = alpha^2 s2 + sigma^2.
torch::Tensor gaussian_flow_nats(const Schedule& schedule, const torch::Tensor& mu,
                                 const torch::Tensor& s2, const torch::Tensor& x) {
  const NoiseLevel clean = schedule.at(schedule.t_min(), 1),
                   noisy = schedule.at(schedule.t_max(), 1);
  const auto v0 = clean.alpha.square() * s2 + clean.sigma.square();
  const auto v1 = noisy.alpha.square() * s2 + noisy.sigma.square();
  const auto end = noisy.alpha * mu + (v1 / v0).sqrt() * (x - clean.alpha * mu);
  return -log_prior(schedule, end) - 0.5 * (v1 / v0).log().sum();
}

TEST(OdeLikelihood, IsTheClosedFormForGaussianDataUnderEverySchedule) {
  const std::vector<double> mu = {0.5, -0.2}, s2 = {0.25, 0.04};
  const auto x = torch::tensor({{0.5, -0.2}, {0.0, 0.3}, {1.4, -0.6}}, torch::kFloat64);
  const auto denoiser = make_mixture_denoiser(gaussian(mu, s2));
  for (const auto& name : schedule_names()) {
    if (name == "vdm_learned") continue;  // not built from options alone
    const auto schedule = schedule_named(name);
    const auto expected = gaussian_flow_nats(*schedule, doubles(mu), doubles(s2), x);
    expect_close(ode_likelihood(denoiser, *schedule, x, {0, 1, 2}, kTight).nats, expected, 1e-6,
                 name);
  }
}

TEST(OdeLikelihood, OfAnExactMixtureScoreIsTheDensityAtTMinUpToTheDistanceOfThePrior) {
  // vp_ramp: alpha_1^2 = e^-10. log p(x) - log q_0(x) = log N(x_T) - log q_1(x_T) at the
  // flow's own x_T.
  const auto mixture = mixture_1d({0.3, 0.7}, {-1.0, 0.8}, {0.04, 0.09});
  const auto schedule = make_schedule({.name = "vp_ramp", .t_min = 0.01, .t_max = 1});
  const auto x = torch::linspace(-1.5, 1.5, 7, torch::kFloat64).unsqueeze(1);
  const auto result =
      ode_likelihood(make_mixture_denoiser(mixture), *schedule, x, slot_range(0, 7), kTight);
  const auto q0 = mixture->log_density(x, schedule->at(0.01, 7));
  // x_T from the "prior" term: |x_T|, and the map is increasing with 0 inside, so its sign is
  // found by ordering.
  const auto radius =
      (2 * (result.term("prior") - 0.5 * std::log(2 * std::numbers::pi))).clamp_min(0).sqrt();
  const auto gap_at = [&](const torch::Tensor& end) {
    return log_prior(*schedule, end) - mixture->log_density(end, schedule->at(1.0, 7));
  };
  const auto plus = gap_at(radius.unsqueeze(1)), minus = gap_at(-radius.unsqueeze(1));
  const auto gap = -result.nats - q0;
  const auto nearest = torch::where((gap - plus).abs() < (gap - minus).abs(), plus, minus);
  expect_close(gap, nearest, 1e-7);
  EXPECT_LT(gap.abs().max().item<double>(), 0.05);
}

TEST(OdeLikelihood, FixedStepsConvergeToTheAdaptiveValueWithOrderFour) {
  const auto denoiser = make_mixture_denoiser(mixture_1d({0.5, 0.5}, {-1, 1}, {0.1, 0.1}));
  const auto schedule = schedule_named("vp_linear");
  const auto x = doubles({0.4, 1.1}).unsqueeze(1);
  const auto exact = ode_likelihood(denoiser, *schedule, x, {0, 1}, kTight).nats;
  const auto error = [&](int64_t steps) {
    const auto nats =
        ode_likelihood(denoiser, *schedule, x, {0, 1}, {.exact_trace = true, .steps = steps}).nats;
    return (nats - exact).abs().max().item<double>();
  };
  EXPECT_NEAR(std::log2(error(60) / error(120)), 4, 0.6);
  EXPECT_LT(error(120), 1e-4);
}

TEST(OdeLikelihood, HutchinsonIsUnbiasedAndExactForADiagonalJacobian) {
  const auto schedule = schedule_named("vp_linear");
  const auto x = torch::tensor({{0.5, -0.2}}, torch::kFloat64);
  // z^T J z = tr J for z of +-1 where J is diagonal.
  const auto diagonal = make_mixture_denoiser(gaussian({0.5, -0.2}, {0.25, 0.04}));
  const auto exact = ode_likelihood(diagonal, *schedule, x, {0}, kTight).nats;
  const auto probed =
      ode_likelihood(diagonal, *schedule, x, {0}, {.probes = 1, .rtol = 1e-10, .atol = 1e-10}).nats;
  expect_close(probed, exact, 1e-8);

  // Correlated data: J has off-diagonal c, z^T J z = tr J + 2 c z1 z2. 400 slots of the
  // same x, RK4.
  const auto correlated =
      std::make_shared<GaussianMixture>(doubles({1}), torch::zeros({1, 2}, torch::kFloat64),
                                        torch::tensor({{{0.5, 0.3}, {0.3, 0.5}}}, torch::kFloat64));
  const auto denoiser = make_mixture_denoiser(correlated);
  const auto many = x.repeat({400, 1});
  const auto truth =
      ode_likelihood(denoiser, *schedule, x, {0}, {.exact_trace = true, .steps = 50});
  const auto drawn = ode_likelihood(denoiser, *schedule, many, slot_range(0, 400), {.steps = 50});
  const double standard_error = drawn.nats.std().item<double>() / 20;
  EXPECT_GT(standard_error, 1e-3);
  EXPECT_NEAR(drawn.nats.mean().item<double>(), truth.nats.item<double>(), 4 * standard_error);
  EXPECT_EQ(drawn.kind, ResultKind::estimate);
  // More probes, less variance: z1 z2 averaged over 4 probes has a quarter of it (within 4
  // sqrt(2/400) = 28 %).
  const auto averaged =
      ode_likelihood(denoiser, *schedule, many, slot_range(0, 400), {.probes = 4, .steps = 50});
  EXPECT_NEAR(averaged.nats.var().item<double>() / drawn.nats.var().item<double>(), 0.25, 0.08);
}

TEST(OdeLikelihood, AnExampleDependsOnItsSlotAndOnNothingElseInTheBatch) {
  const auto denoiser = make_mixture_denoiser(mixture_1d({0.5, 0.5}, {-1, 1}, {0.1, 0.3}));
  const auto schedule = schedule_named("vp_cosine");
  const auto x = torch::linspace(-1, 1, 4, torch::kFloat64).unsqueeze(1);
  const auto together = ode_likelihood(denoiser, *schedule, x, {10, 11, 12, 13}, {});
  const auto alone = ode_likelihood(denoiser, *schedule, x.slice(0, 2, 3), {12}, {});
  expect_close(alone.nats[0], together.nats[2], 1e-12);
  EXPECT_EQ(alone.nfe[0].item<double>(), together.nfe[2].item<double>());
}

TEST(OdeLikelihood, TakesImagesInFloat32AndCountsFourEvaluationsAnRk4Step) {
  // eps_hat = sigma x: N(0, I) stays N(0, I), so the value is -log N(x; 0, I).
  const Denoiser standard_normal = [](const torch::Tensor& x, const NoiseLevel& level) {
    const auto eps = (x.to(torch::kFloat32) * level.sigma.view({-1, 1, 1, 1}).to(torch::kFloat32));
    return Denoised{eps, eps};
  };
  const auto x = 0.1 * torch::arange(18, torch::kFloat32).view({2, 1, 3, 3});
  const auto result =
      ode_likelihood(standard_normal, *schedule_named("vp_linear"), x, {0, 1}, {.steps = 40});
  const auto expected = 4.5 * std::log(2 * std::numbers::pi) + 0.5 * x.square().sum({1, 2, 3});
  expect_close(result.nats, expected.to(torch::kFloat64), 1e-5);  // the network rounds to float32
  expect_close(result.term("prior") + result.term("volume"), result.nats, 1e-14);
  EXPECT_TRUE(result.nfe.eq(160).all().item<bool>());
}

TEST(OdeLikelihood, AFailedExampleIsNanAndTheOthersKeepTheirValues) {
  const Denoiser broken_right_of_one = [](const torch::Tensor& x, const NoiseLevel& level) {
    const auto eps = torch::where(x > 1, std::nan(""), x * level.sigma.unsqueeze(1));
    return Denoised{eps, eps};
  };
  const auto x = doubles({0.0, 2.0}).unsqueeze(1);
  const auto result =
      ode_likelihood(broken_right_of_one, *schedule_named("vp_linear"), x, {0, 1}, {});
  EXPECT_NEAR(result.nats[0].item<double>(), 0.5 * std::log(2 * std::numbers::pi), 1e-4);
  EXPECT_TRUE(std::isnan(result.nats[1].item<double>()));
}

TEST(OdeLikelihood, IsExactOnlyWhereASecondPrecisionAgrees) {
  const auto denoiser = make_mixture_denoiser(mixture_1d({0.5, 0.5}, {-1, 1}, {0.1, 0.1}));
  const auto schedule = schedule_named("vp_linear");
  const auto x = doubles({0.4, 1.1}).unsqueeze(1);
  const auto tight = ode_likelihood(denoiser, *schedule, x, {0, 1}, kTight);
  EXPECT_EQ(tight.kind, ResultKind::estimate);  // nobody has compared
  const auto exact = ode_likelihood_exact(denoiser, *schedule, x, {0, 1}, {});
  EXPECT_EQ(exact.kind, ResultKind::exact);
  expect_close(exact.nats, tight.nats, 1e-6);
  EXPECT_GT(exact.nfe[0].item<double>(), tight.nfe[0].item<double>() / 2);
  expect_close(ode_likelihood_exact(denoiser, *schedule, x, {0, 1}, {.steps = 120}).nats,
               tight.nats, 1e-4);
  expect_error<ConfigError>(
      [&] { ode_likelihood_exact(denoiser, *schedule, x, {0, 1}, {.steps = 8}); },
      "8 and 4 steps leave ode, -log p uncertain");
}

TEST(OdeLikelihood, RejectsWrongOptionsByName) {
  const auto denoiser = make_mixture_denoiser(gaussian({0}, {1}));
  const auto x = torch::zeros({1, 1}, torch::kFloat64);
  const auto call = [&](const OdeLikelihoodOptions& options, const std::vector<int64_t>& slots) {
    return [&, options, slots] {
      ode_likelihood(denoiser, *schedule_named("vp_linear"), x, slots, options);
    };
  };
  expect_error<ConfigError>(call({.probes = 0}, {0}), "probes = 0");
  expect_error<ConfigError>(call({.steps = -2}, {0}), "steps = -2");
  expect_error<ConfigError>(call({.rtol = -1}, {0}), "rtol = -1");
  expect_error<ShapeError>(call({}, {0, 1}), "2 slots");
}

TEST(ProbabilityFlow, ExactDivergenceIsTheSumOfTheProbedOnesAlongTheAxes) {
  const auto mixture = std::make_shared<GaussianMixture>(
      doubles({0.4, 0.6}), torch::tensor({{0.0, 1.0}, {1.0, -1.0}}, torch::kFloat64),
      torch::tensor({{{0.5, 0.3}, {0.3, 0.5}}, {{0.2, 0.0}, {0.0, 0.1}}}, torch::kFloat64));
  const auto denoiser = make_mixture_denoiser(mixture);
  const NoiseLevel level = schedule_named("vp_linear")->at(0.4, 3);
  const auto x = torch::tensor({{0.1, 0.2}, {0.5, -0.4}, {-1.0, 0.3}}, torch::kFloat64);
  const auto exact = eps_divergence_exact(denoiser, x, level);
  auto sum = torch::zeros({3}, torch::kFloat64);
  for (int64_t axis = 0; axis < 2; ++axis) {
    auto unit = torch::zeros_like(x);
    unit.select(1, axis).fill_(1);
    sum += eps_divergence_probed(denoiser, x, level, unit).divergence;
  }
  expect_close(exact.divergence, sum, 1e-12);
  expect_close(exact.eps, mixture->denoise(x, level).eps, 1e-12);
  // And tr Hess log q = -div eps / sigma.
  expect_close(mixture->hessian(x, level).diagonal(0, 1, 2).sum(1), -exact.divergence / level.sigma,
               1e-10);
}

}  // namespace
}  // namespace scorenet::diffusion
