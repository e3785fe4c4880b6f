// What holds for every sampler: seeds, evaluations, shapes, errors; and each method's
// step, by hand.
#include "framework/diffusion/sampler/sampler.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>

#include "framework/core/error.hpp"
#include "framework/diffusion/sampler/time_grid.hpp"
#include "tests/framework/diffusion/sampler/gaussian_problem.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::diffusion {
namespace {

using test::error_of;
using ::testing::HasSubstr;

std::shared_ptr<const Schedule> vp() {
  return make_schedule({.name = "vp_linear", .t_min = 0.01, .t_max = 1});
}

torch::Tensor run(SamplerOptions options, const std::vector<int64_t>& seeds,
                  const std::vector<int64_t>& shape = {2, 3}) {
  const auto schedule = vp();
  return sample(GaussianProblem{}.denoiser(), *schedule, options,
                draw_start(*schedule, seeds, shape), make_slot_noise(seeds, shape))
      .x;
}

TEST(TimeGrid, UniformIsEvenInTimeAndItsEndsAreExact) {
  const auto grid = time_grid(*vp(), 4, "uniform");
  ASSERT_EQ(grid.size(), 5u);
  EXPECT_EQ(grid[0].t, 1.0);
  EXPECT_EQ(grid[4].t, 0.01);
  EXPECT_NEAR(grid[1].t, 1 - 0.99 / 4, 1e-15);
  // vp_linear: f = -beta / 2, g^2 = beta, beta(t) = 0.1 + 19.9 t.
  EXPECT_NEAR(grid[4].g_squared, 0.1 + 19.9 * 0.01, 1e-12);
  EXPECT_NEAR(grid[4].f, -(0.1 + 19.9 * 0.01) / 2, 1e-12);
  EXPECT_NEAR(grid[2].alpha * grid[2].alpha + grid[2].sigma * grid[2].sigma, 1, 1e-14);
}

TEST(TimeGrid, LogSnrSpacingIsEvenInLogSnr) {
  const auto grid = time_grid(*vp(), 10, "log-snr");
  const double step = (grid[10].log_snr - grid[0].log_snr) / 10;
  for (size_t i = 0; i < 10; ++i) EXPECT_NEAR(grid[i + 1].log_snr - grid[i].log_snr, step, 1e-9);
}

TEST(TimeGrid, EdmSpacingIsEvenInTheSeventhRootOfTheNoise) {
  const auto grid = time_grid(*make_schedule({.name = "edm"}), 10, "edm");
  // Karras et al. eq. 5 between 80 and 0.002.
  for (size_t i = 0; i <= 10; ++i) {
    const double u = static_cast<double>(i) / 10;
    const double root = std::pow(80, 1.0 / 7) * (1 - u) + std::pow(0.002, 1.0 / 7) * u;
    EXPECT_NEAR(grid[i].sigma, std::pow(root, 7), 1e-9 * grid[i].sigma);
  }
}

TEST(TimeGrid, RhoIsTheExponentOfEdmSpacing) {
  // rho = 1 is even in the noise itself.
  const auto schedule = make_schedule({.name = "edm"});
  for (const double rho : {1.0, 3.0}) {
    const auto grid = time_grid(*schedule, 8, "edm", rho);
    for (size_t i = 0; i <= 8; ++i) {
      const double u = static_cast<double>(i) / 8;
      const double root = std::pow(80, 1 / rho) * (1 - u) + std::pow(0.002, 1 / rho) * u;
      EXPECT_NEAR(grid[i].sigma, std::pow(root, rho), 1e-8 * grid[i].sigma) << rho;
    }
  }
  SamplerOptions options{.name = "heun", .steps = 4, .spacing = "edm"};
  const auto usual = run(options, {1, 2});
  options.rho = 5;
  EXPECT_FALSE(torch::equal(run(options, {1, 2}), usual));
  options.spacing = "log-snr";
  EXPECT_THAT(error_of<ConfigError>([&] { run(options, {1, 2}); }),
              AllOf(HasSubstr("rho = 5"), HasSubstr("spacing = log-snr")));
}

TEST(TimeGrid, APointIsFoundByItsNoise) {
  const auto schedule = vp();
  EXPECT_NEAR(edm_sigma(point_at_edm_sigma(*schedule, 0.7)), 0.7, 1e-10);
}

TEST(TimeGrid, RejectsAnUnknownSpacingAndNoSteps) {
  EXPECT_THAT(error_of<ConfigError>([] { time_grid(*vp(), 4, "cubic"); }),
              AllOf(HasSubstr("\"cubic\""), HasSubstr("uniform, log-snr, edm")));
  EXPECT_THAT(error_of<ConfigError>([] { time_grid(*vp(), 0, "uniform"); }),
              HasSubstr("steps = 0"));
}

TEST(Sampler, EachMethodTakesTheEvaluationsItSays) {
  const std::map<std::string, double> per_step = {
      {"ancestral", 1}, {"ddim", 1},         {"euler-maruyama", 1}, {"heun", 2},
      {"dpmpp-2m", 1},  {"dpmpp-2m-sde", 1}, {"exponential", 1},    {"pc", 3}};
  const auto schedule = vp();
  for (const auto& name : sampler_names()) {
    if (name == "ode") continue;
    int64_t calls = 0;
    const Denoiser counting = [&](const torch::Tensor& x, const NoiseLevel& level) {
      ++calls;
      return GaussianProblem{}.denoiser()(x, level);
    };
    SamplerOptions options;
    options.name = name;
    options.steps = 7;
    options.corrector_steps = 2;
    options.final = "denoised";
    const auto result = sample(counting, *schedule, options, draw_start(*schedule, {1, 2}, {3}),
                               make_slot_noise({1, 2}, {3}));
    EXPECT_EQ(result.nfe, 7 * per_step.at(name) + 1) << name;
    EXPECT_EQ(static_cast<double>(calls), result.nfe) << name;
  }
}

TEST(Sampler, TheOdeCountsTheMeanOverExamplesOfTheEvaluationsEachTook) {
  const auto schedule = vp();
  double rows = 0;
  const Denoiser counting = [&](const torch::Tensor& x, const NoiseLevel& level) {
    rows += static_cast<double>(x.size(0));
    return GaussianProblem{}.denoiser()(x, level);
  };
  SamplerOptions options;
  options.name = "ode";
  const auto result =
      sample(counting, *schedule, options, draw_start(*schedule, {1, 2, 3, 4}, {1}), nullptr);
  EXPECT_DOUBLE_EQ(result.nfe, rows / 4);
  // The first slope, then six evaluations a step.
  EXPECT_GT(result.nfe, 1 + 6 * 3);
}

TEST(Sampler, ASampleIsAFunctionOfItsSeedAlone) {
  for (const auto& name : sampler_names()) {
    SamplerOptions options;
    options.name = name;
    options.steps = 5;
    options.eta = 0.5;
    options.churn = 2;
    const auto together = run(options, {3, 7, 11});
    const auto alone = run(options, {7});
    // The same operations; only the sum inside a norm may be split up otherwise.
    EXPECT_TRUE(torch::allclose(together[1], alone[0], 1e-12, 1e-12)) << name;
    EXPECT_FALSE(torch::allclose(together[0], together[1])) << name;
  }
}

TEST(Sampler, TheStartHasThePriorsOwnVariance) {
  const auto ve = make_schedule({.name = "ve", .sigma_min = 0.01, .sigma_max = 50});
  std::vector<int64_t> seeds(200);
  for (size_t i = 0; i < seeds.size(); ++i) seeds[i] = static_cast<int64_t>(i);
  const auto x = draw_start(*ve, seeds, {100});
  // 20,000 draws: the sample variance is within 4 sqrt(2 / 20,000) of it, relatively.
  EXPECT_NEAR(x.square().mean().item<double>() / 2500, 1, 4 * std::sqrt(2.0 / 20'000));
}

TEST(Sampler, StartAndNoiseChangeWithTheRunSeedAndTheDraw) {
  const auto noise = make_slot_noise({1}, {4});
  EXPECT_FALSE(torch::equal(noise(0), noise(1)));
  EXPECT_FALSE(torch::equal(noise(0), make_slot_noise({1}, {4}, 5)(0)));
  EXPECT_FALSE(torch::equal(draw_start(*vp(), {1}, {4}), draw_start(*vp(), {1}, {4}, 5)));
  EXPECT_FALSE(torch::equal(draw_start(*vp(), {1}, {4}), noise(0)));
}

TEST(Sampler, DeterministicMethodsNeverAskForNoise) {
  const auto schedule = vp();
  for (const std::string name :
       {"ddim", "heun", "dpmpp-2m", "exponential", "ode", "euler-maruyama"}) {
    SamplerOptions options;
    options.name = name;
    options.hbar = 0;
    const NoiseSource forbidden = [](int64_t) -> torch::Tensor {
      ADD_FAILURE();
      return {};
    };
    sample(GaussianProblem{}.denoiser(), *schedule, options, torch::ones({1, 2}), forbidden);
  }
}

TEST(Sampler, OneFamilySeenFromTwoSides) {
  SamplerOptions ddim{.name = "ddim", .steps = 6}, other{.name = "ancestral", .steps = 6};
  // eta = 1 draws from q(x_s | x_t, x0_hat): ancestral sampling.
  ddim.eta = 1;
  EXPECT_TRUE(torch::allclose(run(ddim, {1, 2}), run(other, {1, 2}), 1e-10, 1e-10));
  // eta = 0 is the first-order exponential integrator.
  ddim.eta = 0;
  other.name = "exponential";
  EXPECT_TRUE(torch::allclose(run(ddim, {1, 2}), run(other, {1, 2}), 1e-10, 1e-10));
  // Without noise the SDE solver is the ODE solver.
  SamplerOptions sde{.name = "dpmpp-2m-sde", .steps = 20}, ode{.name = "dpmpp-2m", .steps = 20};
  sde.hbar = 0;
  EXPECT_TRUE(torch::allclose(run(sde, {1, 2}), run(ode, {1, 2}), 1e-10, 1e-10));
}

TEST(Sampler, FinalDenoisedIsTheEstimateOfX0InTheFinalState) {
  SamplerOptions options{.name = "heun", .steps = 4};
  const auto state = run(options, {1, 2});
  options.final = "denoised";
  const auto expected = GaussianProblem{}.denoiser()(state, vp()->at(0.01, 2)).x0;
  EXPECT_TRUE(torch::allclose(run(options, {1, 2}), expected, 1e-12, 1e-12));
}

TEST(Sampler, AKeptPathIsEveryStateOfTheGridAndChangesNothing) {
  const auto schedule = vp();
  SamplerOptions options{.name = "euler-maruyama", .steps = 5, .final = "denoised", .hbar = 0.7};
  const auto start = draw_start(*schedule, {1, 2}, {3});
  const auto draw = [&] {
    return sample(GaussianProblem{}.denoiser(), *schedule, options, start,
                  make_slot_noise({1, 2}, {3}));
  };
  const auto plain = draw();
  EXPECT_FALSE(plain.path.defined());
  options.keep_path = true;
  const auto kept = draw();
  EXPECT_TRUE(torch::equal(kept.x, plain.x));
  ASSERT_EQ(kept.path.sizes(), (std::vector<int64_t>{2, 6, 3}));
  EXPECT_TRUE(torch::equal(kept.path.select(1, 0), start));
  EXPECT_NEAR(kept.path_t[0].item<double>(), 1, 1e-15);
  EXPECT_NEAR(kept.path_t[5].item<double>(), 0.01, 1e-15);
  options.final = "state";
  EXPECT_TRUE(torch::equal(kept.path.select(1, 5), draw().x));
  // heun asks twice a step, the adaptive solver as it likes.
  for (const char* name : {"heun", "ode"}) {
    options.name = name;
    EXPECT_THAT(error_of<ConfigError>(draw), HasSubstr(name));
  }
}

TEST(Sampler, TheStateIsFloat64WhateverTheNetworkAnswersAndCarriesNoGradient) {
  const auto weight = torch::ones({}, torch::requires_grad());
  const Denoiser network = [&](const torch::Tensor& x, const NoiseLevel&) {
    EXPECT_EQ(x.dtype(), torch::kFloat64);
    const auto half = x.to(torch::kFloat32) * weight;
    return Denoised{half, half};
  };
  SamplerOptions options{.name = "ddim", .steps = 2};
  const auto result = sample(network, *vp(), options, torch::ones({1, 1, 4, 4}), nullptr);
  EXPECT_EQ(result.x.dtype(), torch::kFloat64);
  EXPECT_EQ(result.x.sizes(), (std::vector<int64_t>{1, 1, 4, 4}));
  EXPECT_FALSE(result.x.requires_grad());
}

TEST(EulerMaruyama, OneStepIsTheFormulaWithDriftHalfOnePlusHbarAndNoiseRootHbar) {
  const auto schedule = vp();
  const GaussianProblem problem{.mean = 0, .deviation = 0.5};
  const auto grid = time_grid(*schedule, 1, "uniform");
  const double dt = 0.99, beta = 20, variance = problem.variance_at(schedule->at(1.0, 1));
  for (const double hbar : {0.0, 0.5, 1.0}) {
    SamplerOptions options{.name = "euler-maruyama", .steps = 1};
    options.hbar = hbar;
    const auto out = affine_outcome(problem.denoiser(), *schedule, options, 1);
    // x + dt (beta / 2 x - (1 + hbar) / 2 beta x / V) + sqrt(hbar beta dt) n.
    EXPECT_NEAR(out.slope, 1 + dt * (beta / 2 - (1 + hbar) / 2 * beta / variance), 1e-10);
    EXPECT_NEAR(out.noise_variance, hbar * beta * dt, 1e-10);
  }
}

TEST(EulerMaruyama, HbarMayDependOnTime) {
  SamplerOptions constant{.name = "euler-maruyama", .steps = 5}, by_time = constant;
  constant.hbar = 0.3;
  // h(t) = hbar shape(t); the ODE has no shape.
  by_time.hbar = 0.6;
  by_time.hbar_shape = [](double) { return 0.5; };
  EXPECT_TRUE(torch::equal(run(constant, {1}), run(by_time, {1})));
  constant.name = by_time.name = "dpmpp-2m-sde";
  EXPECT_TRUE(torch::equal(run(constant, {1}), run(by_time, {1})));
  by_time.name = "heun";
  EXPECT_THAT(error_of<ConfigError>([&] { run(by_time, {1}); }), HasSubstr("heun"));
  by_time.name = "euler-maruyama";

  // Noise in the noisy half only: 4 steps start at t = 1, 0.75, 0.51, 0.26.
  by_time.steps = 4;
  by_time.hbar_shape = [](double t) { return t > 0.6 ? 1.0 : 0.0; };
  int64_t draws = 0;
  const NoiseSource counting = [&](int64_t) {
    ++draws;
    return torch::zeros({1, 1}, torch::kFloat64);
  };
  sample(GaussianProblem{}.denoiser(), *vp(), by_time, torch::ones({1, 1}), counting);
  EXPECT_EQ(draws, 2);

  by_time.hbar_shape = [](double) { return -0.25; };
  EXPECT_THAT(error_of<ConfigError>([&] { run(by_time, {1}); }), HasSubstr("-0.15"));
}

TEST(Heun, ChurnRaisesTheNoiseByAtMostTheRootOfTwoAndOnlyWithinItsRange) {
  // edm, levels 1 -> t_min in one step; the first step cannot be raised above t_max, so two steps
  // are looked at.
  const auto schedule = make_schedule({.name = "edm", .t_min = 0.1, .t_max = 1});
  const GaussianProblem problem{.mean = 0, .deviation = 0.5};
  SamplerOptions options{.name = "heun", .steps = 2};
  options.churn = 100;  // min(100 / 2, sqrt 2 - 1)
  const double level = 0.55, raised = level * std::sqrt(2.0), next = 0.1;
  const auto out = affine_outcome(problem.denoiser(), *schedule, options, 2);
  // From `raised`, one Heun step on d(y) = level y / V, V = s^2 + level^2: slope by hand.
  const auto d = [&](double at) { return at / (0.25 + at * at); };
  const double step = next - raised;
  const double heun = 1 + step / 2 * (d(raised) + d(next) * (1 + step * d(raised)));
  EXPECT_NEAR(out.noise_variance, (raised * raised - level * level) * heun * heun, 1e-12);

  options.churn_noise = 1.1;
  EXPECT_NEAR(affine_outcome(problem.denoiser(), *schedule, options, 2).noise_variance,
              1.21 * out.noise_variance, 1e-12);
  options.churn_max = 0.5;  // both levels, 1 and 0.55, lie above
  EXPECT_EQ(affine_outcome(problem.denoiser(), *schedule, options, 2).noise_variance, 0);
  options.churn_max = 1e300;
  options.churn_min = 0.6;  // 0.55 lies below, 1 is already the top
  EXPECT_EQ(affine_outcome(problem.denoiser(), *schedule, options, 2).noise_variance, 0);
}

TEST(PredictorCorrector, OneStepIsLangevinAndThenReverseDiffusion) {
  const auto schedule = vp();
  const GaussianProblem problem{.mean = 0, .deviation = 0.5};
  SamplerOptions options{.name = "pc", .steps = 1};
  options.corrector_snr = 0.1;
  // Norms set to 1: e = 2 al 0.1^2, al = (a_t / a_s)^2.
  std::vector<torch::Tensor> seen;
  options.norm_average = [&](const torch::Tensor& norms) {
    seen.push_back(norms);
    return torch::ones({}, torch::kFloat64);
  };
  const auto grid = time_grid(*schedule, 1, "uniform");
  const double scale = grid[0].alpha / grid[1].alpha,
               v_t = problem.variance_at(schedule->at(1.0, 1));
  const double variance = std::pow(grid[0].sigma, 2) - std::pow(scale * grid[1].sigma, 2);
  const double e = 2 * scale * scale * 0.01;
  const double predictor = 2 - scale - variance / v_t;

  const auto out = affine_outcome(problem.denoiser(), *schedule, options, 2);
  EXPECT_NEAR(out.slope, predictor * (1 - e / v_t), 1e-12);
  EXPECT_NEAR(out.noise_variance, predictor * predictor * 2 * e + variance, 1e-12);
  // It was shown the norms of the noise, then of the score, one for each example (4 rows; row 2 has
  // the unit draw).
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].sizes(), (std::vector<int64_t>{4}));
  EXPECT_EQ(seen[0][2].item<double>(), 1);
  EXPECT_NEAR(seen[1][1].item<double>(), 1 / v_t, 1e-12);
}

TEST(Sampler, AnUnknownNameIsAnErrorThatListsTheKnownOnes) {
  const auto message = error_of<ConfigError>([] { run({.name = "leapfrog"}, {1}); });
  EXPECT_THAT(message, HasSubstr("\"leapfrog\""));
  for (const auto& name : sampler_names()) EXPECT_THAT(message, HasSubstr(name));
  EXPECT_EQ(sampler_names().size(), 9u);
}

TEST(Sampler, RejectsValuesOutOfRangeByName) {
  const auto message = [](const std::function<void(SamplerOptions&)>& change) {
    SamplerOptions options{.name = "ddim"};
    change(options);
    return error_of<ConfigError>([&] { run(options, {1}); });
  };
  EXPECT_THAT(message([](auto& o) { o.eta = 1.5; }), HasSubstr("eta = 1.5"));
  EXPECT_THAT(message([](auto& o) { o.hbar = -1; }), HasSubstr("hbar = -1"));
  EXPECT_THAT(message([](auto& o) { o.churn = -2; }), HasSubstr("churn = -2"));
  EXPECT_THAT(message([](auto& o) { o.corrector_steps = -3; }), HasSubstr("corrector_steps = -3"));
  EXPECT_THAT(message([](auto& o) { o.corrector_snr = -4; }), HasSubstr("corrector_snr = -4"));
  EXPECT_THAT(message([](auto& o) { o.final = "mean"; }), HasSubstr("\"mean\""));
}

TEST(Sampler, AnOdeThatCannotBeSolvedIsAnErrorThatCountsTheExamples) {
  const Denoiser broken = [](const torch::Tensor& x, const NoiseLevel&) {
    const auto nan = torch::where(x < 0, std::nan(""), x);
    return Denoised{nan, nan};
  };
  SamplerOptions options{.name = "ode"};
  try {
    sample(broken, *vp(), options, torch::tensor({{1.0}, {-1.0}, {1.0}}), nullptr);
    FAIL();
  } catch (const NotFiniteError& error) {
    EXPECT_THAT(error.what(), HasSubstr("1 of 3"));
  }
}

}  // namespace
}  // namespace scorenet::diffusion
