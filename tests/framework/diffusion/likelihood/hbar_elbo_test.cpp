// ELBO_h and IW-ELBO_h against ode (h = 0), elbo (h = 1) and the Gaussian law of the
// reverse family.
#include "framework/diffusion/likelihood/hbar_elbo.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/elbo.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "tests/framework/diffusion/likelihood/affine_reverse.hpp"

namespace scorenet::diffusion {
namespace {

using namespace test;

std::shared_ptr<const Schedule> simple() {
  return make_schedule({.name = "vp_ramp", .t_min = 0.01, .t_max = 1});
}

double stderr_of(const torch::Tensor& values) {
  return values.std().item<double>() / std::sqrt(static_cast<double>(values.numel()));
}

TEST(HbarElbo, WithoutNoiseItIsTheOdeValueOfTheSameSteps) {
  const auto denoiser = turned_problem().denoiser();
  const auto x = torch::tensor({{0.3, -0.2}, {1.0, 0.5}}, torch::kFloat64);
  for (const bool exact : {true, false}) {
    const auto zero =
        hbar_likelihood(denoiser, *simple(), x, {5, 6},
                        {.hbars = {0}, .paths = 3, .steps = 40, .exact_trace = exact});
    const auto ode =
        ode_likelihood(denoiser, *simple(), x, {5, 6}, {.exact_trace = exact, .steps = 40});
    expect_close(zero[0].elbo.nats, ode.nats, 1e-12);
    expect_close(zero[0].importance.nats, ode.nats, 1e-12);
  }
  expect_close(
      hbar_elbo_exact(denoiser, *simple(), x, 0, {.steps = 40}).nats,
      ode_likelihood(denoiser, *simple(), x, {0, 0}, {.exact_trace = true, .steps = 40}).nats,
      1e-14);
}

TEST(HbarElbo, OfAnExactScoreEveryPathHasTheSameWeightUpToOrderTwoInTheStep) {
  const auto schedule = make_schedule({.name = "vp_constant", .t_min = 0.01, .t_max = 1});
  const auto mixture = mixture_1d({0.4, 0.6}, {-0.8, 0.7}, {0.1, 0.05});
  const auto x = torch::full({200, 1}, 0.4, torch::kFloat64);
  const auto spread = [&](double hbar, int64_t steps) {
    const auto result =
        hbar_likelihood(make_mixture_denoiser(mixture), *schedule, x, slot_range(0, 200),
                        {.hbars = {hbar}, .steps = steps, .exact_trace = true});
    const auto error = result[0].elbo.nats + mixture->log_density(x, schedule->at(0.01, 200));
    return error.square().mean().sqrt().item<double>();
  };
  for (const double hbar : {0.3, 1.0}) {
    EXPECT_LT(spread(hbar, 160), 0.02) << hbar;
    EXPECT_GT(std::log2(spread(hbar, 40) / spread(hbar, 160)), 2 * 1.5) << hbar;
  }
}

TEST(HbarElbo, TheDrawnBoundIsTheExactOneOfAnAffineScore) {
  const auto problem = turned_problem();
  const auto x = torch::tensor({{0.8, 0.5}}, torch::kFloat64);
  const auto drawn = hbar_likelihood(problem.denoiser(), *simple(), x.repeat({1500, 1}),
                                     slot_range(0, 1500), {.hbars = {0.2, 1}, .steps = 60});
  for (const auto& at : drawn) {
    const double exact = hbar_elbo_exact(problem.denoiser(), *simple(), x, at.hbar, {.steps = 100})
                             .nats.item<double>();
    EXPECT_NEAR(at.elbo.nats.mean().item<double>(), exact, 4 * stderr_of(at.elbo.nats) + 2e-3)
        << at.hbar;
    EXPECT_EQ(at.elbo.kind, ResultKind::bound);
    // A bound: at least -log q^h(x).
    EXPECT_GT(exact, problem.nats(*simple(), x, at.hbar).item<double>());
  }
}

// Noise only while the sample is far from the data: h(t) = hbar min(1, 2 t).
double early(double t) { return std::min(1.0, 2 * t); }

TEST(HbarElbo, OfATimeDependentKnobItBoundsThatKnobsLawAndPathsFindIt) {
  const auto problem = turned_problem();
  const auto x = torch::tensor({{0.8, 0.5}}, torch::kFloat64);
  const double exact = hbar_elbo_exact(problem.denoiser(), *simple(), x, 0.5, {.steps = 200}, early)
                           .nats.item<double>();
  const double truth = problem.nats(*simple(), x, 0.5, early).item<double>();
  EXPECT_GT(exact, truth);
  EXPECT_GT(std::abs(truth - problem.nats(*simple(), x, 0.5).item<double>()), 0.01);
  const auto drawn =
      hbar_likelihood(problem.denoiser(), *simple(), x.repeat({1500, 1}), slot_range(0, 1500),
                      {.hbars = {0.5}, .steps = 60, .hbar_shape = early});
  EXPECT_NEAR(drawn[0].elbo.nats.mean().item<double>(), exact,
              4 * stderr_of(drawn[0].elbo.nats) + 2e-3);
  // E[w] = q^h(x): all paths as one importance sample.
  const auto w = (truth - drawn[0].elbo.nats).exp();
  EXPECT_NEAR(w.mean().item<double>(), 1, 4 * stderr_of(w) + 2e-3);
}

TEST(HbarElbo, AConstantShapeIsAFactorOfHbar) {
  const auto problem = turned_problem();
  const auto x = torch::tensor({{0.8, 0.5}}, torch::kFloat64);
  const auto half =
      hbar_likelihood(problem.denoiser(), *simple(), x, {0},
                      {.hbars = {0.5}, .steps = 10, .hbar_shape = [](double) { return 0.5; }});
  const auto plain =
      hbar_likelihood(problem.denoiser(), *simple(), x, {0}, {.hbars = {0.25}, .steps = 10});
  EXPECT_TRUE(torch::equal(half[0].elbo.nats, plain[0].elbo.nats));
}

TEST(HbarElbo, AtOneItIsTheVariationalBoundAveragedOverTheFirstNoise) {
  // elbo(x) = E_{z | x}[-ELBO_1(z)] - D log alpha_0 with the flat decoder. -ELBO_1 is quadratic in
  // z here, and the two points alpha_0 x +- sigma_0 with weights 1/2 integrate quadratics exactly.
  AffineReverse problem{doubles({0.3}), torch::full({1, 1}, 0.25, torch::kFloat64), {}};
  problem.errors.score_scale = 1.1;
  for (const std::string name : {"vp_ramp", "edm"}) {
    const auto schedule = schedule_named(name);
    const NoiseLevel clean = schedule->at(schedule->t_min(), 1);
    const auto x = doubles({0.7}).unsqueeze(1);
    const auto z = torch::cat({clean.alpha * x + clean.sigma, clean.alpha * x - clean.sigma});
    const auto path =
        hbar_elbo_exact(problem.denoiser(), *schedule, z, 1, {.steps = 260}).nats.mean();
    const auto bound = elbo_exact(problem.denoiser(), *schedule, Decoder::flat, x).nats[0];
    expect_close(path - clean.alpha.log()[0], bound, 1e-6, name);
  }
}

TEST(HbarElbo, TheImportanceWeightedBoundRisesToTheFamilysOwnLikelihood) {
  const auto problem = turned_problem();
  const auto x = torch::tensor({{0.8, 0.5}}, torch::kFloat64).repeat({100, 1});
  const double hbar = 0.5;
  const double truth = problem.nats(*simple(), x.slice(0, 0, 1), hbar).item<double>();
  const auto with_paths = [&](int64_t paths) {
    return hbar_likelihood(problem.denoiser(), *simple(), x, slot_range(0, 100),
                           {.hbars = {hbar}, .paths = paths, .steps = 40, .exact_trace = true})[0];
  };
  const auto one = with_paths(1), many = with_paths(32);
  EXPECT_TRUE(torch::allclose(one.elbo.nats, one.importance.nats, 1e-12, 1e-12));
  EXPECT_TRUE((many.importance.nats <= many.elbo.nats).all().item<bool>());  // Jensen, path by path
  const double gap_one = one.elbo.nats.mean().item<double>() - truth;
  const double gap_many = many.importance.nats.mean().item<double>() - truth;
  EXPECT_GT(gap_one, 4 * stderr_of(one.elbo.nats));
  // The gap falls as var(w) / (2 K): a tenth leaves room for the factor 32.
  EXPECT_LT(std::abs(gap_many), 0.1 * gap_one + 4 * stderr_of(many.importance.nats));
}

TEST(HbarElbo, DependsOnItsSlotAloneAndTakesImages) {
  const auto schedule = simple();
  const Denoiser shrink = [](const torch::Tensor& x, const NoiseLevel& level) {
    const auto eps =
        x.to(torch::kFloat32) * level.sigma.view({-1, 1, 1, 1}).to(torch::kFloat32) * 1.1;
    return Denoised{eps, eps};
  };
  const auto x = 0.1 * torch::arange(18, torch::kFloat32).view({2, 1, 3, 3});
  const HbarOptions options{.hbars = {0.5}, .paths = 2, .steps = 10};
  const auto both = hbar_likelihood(shrink, *schedule, x, {3, 8}, options);
  const auto alone = hbar_likelihood(shrink, *schedule, x.slice(0, 1), {8}, options);
  expect_close(alone[0].importance.nats[0], both[0].importance.nats[1], 1e-6);
  // Two paths of 10 steps of 4 evaluations and 11 kicks of 3.
  EXPECT_EQ(both[0].elbo.nfe[0].item<double>(), 2 * (40 + 33));
}

TEST(HbarElbo, RejectsWrongOptionsByName) {
  const auto denoiser = turned_problem().denoiser();
  const auto x = torch::zeros({1, 2}, torch::kFloat64);
  const auto call = [&](const HbarOptions& options) {
    return [&, options] { hbar_likelihood(denoiser, *simple(), x, {0}, options); };
  };
  expect_error<ConfigError>(call({.hbars = {}}), "empty");
  expect_error<ConfigError>(call({.hbars = {0.1, -0.5}}), "-0.5");
  expect_error<ConfigError>(call({.paths = 0}), "paths = 0");
  expect_error<ConfigError>(call({.steps = 0}), "steps = 0");
  const auto bent = make_mixture_denoiser(mixture_1d({0.5, 0.5}, {-1, 1}, {0.1, 0.1}));
  expect_error<ConfigError>(
      [&] {
        hbar_elbo_exact(bent, *simple(), torch::zeros({1, 1}, torch::kFloat64), 1, {.steps = 10});
      },
      "affine");
}

TEST(HbarElbo, TheAffineFormIsThatOfTheModeWhereTheDataAreAndNotOfTheOrigin) {
  // Modes N(0, 1) and N(60, 0.04), gamma_max = 0, x = 60.1: at log_snr 0 alpha^2 = sigma^2 = 1/2,
  // so the paths end about 42, 40 deviations from the boundary between the modes. They never see
  // the other one: the value is that of N(60, 0.04) alone. It is mainly -log N(42; 0, 1) = 42.4^2 /
  // 2 = 900.
  const auto schedule = make_schedule({.name = "vdm_linear", .gamma_max = 0});
  const auto modes = make_mixture_denoiser(mixture_1d({0.5, 0.5}, {0, 60}, {1, 0.04}));
  const auto alone = make_mixture_denoiser(gaussian({60}, {0.04}));
  const auto x = doubles({60.1, 59.7}).unsqueeze(1);
  for (const double hbar : {0.1, 1.0}) {
    const auto nats = hbar_elbo_exact(modes, *schedule, x, hbar).nats;
    expect_close(nats, hbar_elbo_exact(alone, *schedule, x, hbar).nats, 1e-7);
    EXPECT_NEAR(nats[0].item<double>(), 905, 10) << hbar;
  }
  // The drawn paths say so, too.
  const auto drawn =
      hbar_likelihood(modes, *schedule, x.slice(0, 0, 1).repeat({100, 1}), slot_range(0, 100),
                      {.hbars = {1}, .steps = 100, .exact_trace = true})[0]
          .elbo.nats;
  EXPECT_NEAR(drawn.mean().item<double>(),
              hbar_elbo_exact(modes, *schedule, x, 1).nats[0].item<double>(),
              4 * stderr_of(drawn) + 0.05);
}

TEST(HbarElbo, PathsThatMeetASecondModeOnTheirWayAreRefused) {
  // Near the origin and near each mode the denoiser is affine; the paths of x = 0.9
  // end between them.
  const auto schedule = make_schedule({.name = "vdm_linear"});
  const auto modes = make_mixture_denoiser(mixture_1d({0.5, 0.5}, {0, 8}, {0.01, 0.01}));
  for (const double x : {0.1, 7.9, 4.0}) {
    expect_error<ConfigError>(
        [&] { hbar_elbo_exact(modes, *schedule, torch::full({1, 1}, x, torch::kFloat64), 0.5); },
        "affine denoiser");
  }
}

// -ELBO_h in one dimension by the moment equations in plain doubles, Runge-Kutta steps too
// many to matter.
double elbo_by_moments(double x, double mean, double variance, double linear, double s_min,
                       double s_max, double hbar) {
  // ve: alpha = 1, sigma = e^{-L/2}, a = 0. eps_hat = -sigma s, s = -(z - mean) / V + linear z, V =
  // variance + sigma^2.
  struct State {
    double m, c, path;
  };
  const auto slope = [&](double log_snr, const State& y) {
    const double s2 = std::exp(-log_snr), v = variance + s2, k = 1 / v - linear;
    const double eps = std::sqrt(s2) * ((y.m - mean) / v - linear * y.m), j = std::sqrt(s2) * k;
    const double half = std::sqrt(s2) / 2;
    return State{-(1 - hbar) * half * eps, -2 * (1 - hbar) * half * j * y.c - hbar * s2,
                 -(1 + hbar) * half * j + hbar / 2 * (eps * eps + j * j * y.c)};
  };
  const auto plus = [](const State& y, double h, const State& k) {
    return State{y.m + h * k.m, y.c + h * k.c, y.path + h * k.path};
  };
  const int n = 200000;
  const double first = -2 * std::log(s_min), step = (-2 * std::log(s_max) - first) / n;
  State y{x, 0, 0};
  for (int i = 0; i < n; ++i) {
    const double at = first + i * step;
    const State k1 = slope(at, y), k2 = slope(at + step / 2, plus(y, step / 2, k1)),
                k3 = slope(at + step / 2, plus(y, step / 2, k2)),
                k4 = slope(at + step, plus(y, step, k3));
    y = plus(plus(plus(plus(y, step / 6, k1), step / 3, k2), step / 3, k3), step / 6, k4);
  }
  const double p = s_max * s_max;
  return (y.m * y.m + y.c) / (2 * p) + 0.5 * std::log(2 * std::numbers::pi * p) - y.path;
}

TEST(HbarElbo, OfAStiffProblemItIsTheMomentEquationsOrTooFewStepsAreRefused) {
  // ve from 0.05 to 150, N(0.5, 0.3), s = grad log q + 0.02 x: the drift's rate reaches 0.02 *
  // 150^2 / 2 = 225 a unit of log-SNR, and 500 Runge-Kutta steps over 16 units, 7 times too long
  // for it, gave 1e38.
  const auto schedule = make_schedule({.name = "ve", .sigma_min = 0.05, .sigma_max = 150});
  AffineReverse problem{doubles({0.5}), torch::full({1, 1}, 0.3, torch::kFloat64), {}};
  problem.errors.linear = torch::full({1, 1}, 0.02, torch::kFloat64);
  const auto denoiser = problem.denoiser();
  const auto x = doubles({0.3}).unsqueeze(1);
  for (const auto& [hbar, digits] :
       std::vector<std::pair<double, double>>{{0, 225.32107}, {0.5, 446.28906}}) {
    const double nats = hbar_elbo_exact(denoiser, *schedule, x, hbar).nats.item<double>();
    EXPECT_NEAR(nats / elbo_by_moments(0.3, 0.5, 0.3, 0.02, 0.05, 150, hbar), 1, 1e-6) << hbar;
    EXPECT_NEAR(nats, digits, 1e-4) << hbar;
  }
  expect_error<ConfigError>([&] { hbar_elbo_exact(denoiser, *schedule, x, 0, {.steps = 500}); },
                            "500 and 250 steps");
}

TEST(HbarElbo, StepsThatAreGivenKeepTheirMeaningAndAreCheckedAgainstHalf) {
  const auto problem = turned_problem();
  const auto x = torch::tensor({{0.8, 0.5}}, torch::kFloat64);
  const auto fixed = hbar_elbo_exact(problem.denoiser(), *simple(), x, 0.5, {.steps = 100});
  EXPECT_EQ(fixed.nfe.item<double>(), 4 * 150);  // 100 steps and 50, of four stages
  expect_close(fixed.nats, hbar_elbo_exact(problem.denoiser(), *simple(), x, 0.5).nats, 1e-4);
  expect_error<ConfigError>(
      [&] { hbar_elbo_exact(problem.denoiser(), *simple(), x, 0.5, {.steps = 4}); },
      "4 and 2 steps");
}

TEST(BestHbar, IsTheRowOfLeastMeanWithThePairedErrorOfItsGain) {
  const auto nats =
      torch::tensor({{1.0, 3.0, 5.0}, {0.0, 2.0, 3.0}, {2.0, 2.0, 2.5}}, torch::kFloat64);
  const BestHbar best = best_hbar({0, 0.1, 1}, nats);
  EXPECT_EQ(best.hbar, 0.1);
  EXPECT_NEAR(best.nats_mean, 5.0 / 3, 1e-12);
  // Differences 1, 1, 2: mean 4/3, deviation sqrt(1/3), standard error 1/3.
  EXPECT_NEAR(best.gain, 4.0 / 3, 1e-12);
  EXPECT_NEAR(best.gain_stderr, 1.0 / 3, 1e-12);
  // h = 0 is 4 of its standard errors worse. h = 1 is worse by 2, 0, -1/2: mean 1/2, standard error
  // sqrt(1.75 / 3) = 0.76.
  EXPECT_EQ(best.hbar_low, 0.1);
  EXPECT_EQ(best.hbar_high, 1);
  EXPECT_EQ(best.compared, 3);
}

TEST(BestHbar, LeavesOutForAllWhatFailedForOneAndRejectsWhatDoesNotFit) {
  auto nats = torch::tensor({{1.0, 3.0}, {2.0, 0.0}}, torch::kFloat64);
  nats[1][1] = std::nan("");
  EXPECT_EQ(best_hbar({0, 1}, nats).hbar, 0);
  EXPECT_EQ(best_hbar({0, 1}, nats).compared, 1);
  expect_error<ConfigError>([&] { best_hbar({0, 0.5, 1}, nats); }, "3 values");
  nats.fill_(std::nan(""));
  expect_error<ConfigError>([&] { best_hbar({0, 1}, nats); }, "no example of 2");
}

}  // namespace
}  // namespace scorenet::diffusion
