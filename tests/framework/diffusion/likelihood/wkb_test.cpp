// nll0 and nll1 against the reverse family's own Gaussian law, against the published system,
// and against identities.
#include "framework/diffusion/likelihood/wkb.hpp"

#include <ATen/Context.h>

#include <cmath>
#include <memory>
#include <numbers>

#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/flow_jet.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/likelihood/quadrature.hpp"
#include "framework/diffusion/sampler/sampler.hpp"
#include "tests/framework/diffusion/likelihood/affine_reverse.hpp"

namespace scorenet::diffusion {
namespace {

using namespace test;

std::shared_ptr<const Schedule> simple() {
  return make_schedule({.name = "vp_ramp", .t_min = 0.01, .t_max = 1});
}

// A one-dimensional mixture whose score is 10 % too large and shifted: not affine.
Denoiser wrong_mixture() {
  ScoreErrors errors;
  errors.score_scale = 1.1;
  errors.offset = doubles({0.1});
  return make_mixture_denoiser(mixture_1d({0.4, 0.6}, {-0.8, 0.7}, {0.1, 0.05}), errors);
}

TEST(Wkb, OfAScaledScoreIsTheGaussianClosedFormUnderSchedulesOfEachKind) {
  AffineReverse problem{doubles({0.3}), torch::full({1, 1}, 0.25, torch::kFloat64), {}};
  problem.errors.score_scale = 1.1;
  const auto x = doubles({0.3, -0.5, 1.0}).unsqueeze(1);
  for (const std::string name : {"vp_tan", "edm"}) {
    const auto schedule = schedule_named(name);
    const auto result = wkb_exact(problem.denoiser(), *schedule, x, {.steps = 360});
    expect_close(result.term("nll0"), problem.nats(*schedule, x, 0), 1e-5, name);
    expect_close(result.term("nll1"), problem.slope_at_zero(*schedule, x), 1e-5, name);
    EXPECT_EQ(result.kind, ResultKind::exact);
    EXPECT_TRUE(torch::equal(result.nats, result.term("nll0")));
  }
}

TEST(Wkb, OfATurnedAndShiftedScoreInTwoDimensionsIsTheClosedForm) {
  const auto problem = turned_problem();
  const auto x = torch::tensor({{0.3, -0.2}, {1.0, 0.5}, {-0.6, 0.1}}, torch::kFloat64);
  const auto result = wkb_exact(problem.denoiser(), *simple(), x, {.steps = 150});
  const auto slope = problem.slope_at_zero(*simple(), x);
  expect_close(result.term("nll0"), problem.nats(*simple(), x, 0), 1e-5);
  expect_close(result.term("nll1"), slope, 1e-5);
  EXPECT_GT(slope.abs().min().item<double>(), 0.01);  // there is something to find
  // The adaptive solver finds the same.
  const auto adaptive =
      wkb_exact(problem.denoiser(), *simple(), x, {.steps = 0, .rtol = 1e-7, .atol = 1e-7});
  expect_close(adaptive.term("nll1"), slope, 1e-5);
}

TEST(PlainAttention, StaysOffUntilTheLastOfSeveralScopesInAnyOrder) {
  // Batches on two threads: the first scope ends while the second still differentiates twice.
  const auto fused = [] { return at::globalContext().userEnabledFlashSDP(); };
  ASSERT_TRUE(fused());
  auto first = std::make_unique<PlainAttention>();
  auto second = std::make_unique<PlainAttention>();
  first.reset();
  EXPECT_FALSE(fused());
  second.reset();
  EXPECT_TRUE(fused());
}

TEST(Wkb, ThePublishedSystemIsTheSameNumber) {
  // Differences of spacing 2e-3 err by about its square times fourth derivatives of l0, few steps
  // by some 1e-3.
  const auto line = doubles({-0.9, 0.1, 0.8}).unsqueeze(1);
  const auto one = wkb_exact(wrong_mixture(), *simple(), line, {.steps = 100});
  const auto two = wkb_published(wrong_mixture(), *simple(), line, 24, 2e-3);
  expect_close(two.term("nll0"), one.term("nll0"), 5e-3);
  expect_close(two.term("nll1"), one.term("nll1"), 1e-2);
  EXPECT_GT(one.term("nll1").abs().min().item<double>(), 0.1);

  const auto problem = turned_problem();
  const auto x = torch::tensor({{0.3, -0.2}, {1.0, 0.5}}, torch::kFloat64);
  const auto published = wkb_published(problem.denoiser(), *simple(), x, 18, 2e-3);
  expect_close(published.term("nll1"), problem.slope_at_zero(*simple(), x), 1e-2);
}

TEST(Wkb, AnExactScoreHasNoFirstOrderTerm) {
  // alpha_1^2 = e^-20: the prior is the law at t_max but for 1e-4 in the mean.
  const auto schedule = make_schedule({.name = "vp_constant", .t_min = 0.01, .t_max = 1});
  const auto mixture = mixture_1d({0.4, 0.6}, {-0.8, 0.7}, {0.1, 0.05});
  const auto x = torch::linspace(-1, 1, 5, torch::kFloat64).unsqueeze(1);
  const auto result = wkb_exact(make_mixture_denoiser(mixture), *schedule, x, {.steps = 200});
  expect_close(result.nats, -mixture->log_density(x, schedule->at(0.01, 5)), 1e-3);
  EXPECT_LT(result.term("nll1").abs().max().item<double>(), 5e-3);
}

TEST(Wkb, FixedStepsThatAreTooFewMakeAnEstimate) {
  const auto x = doubles({0.2, 0.9}).unsqueeze(1);
  const auto few = wkb_exact(wrong_mixture(), *simple(), x, {.steps = 8});
  const auto many = wkb_exact(wrong_mixture(), *simple(), x, {.steps = 100});
  EXPECT_EQ(few.kind, ResultKind::estimate);
  EXPECT_EQ(many.kind, ResultKind::exact);
  EXPECT_GT((few.term("nll1") - many.term("nll1")).abs().max().item<double>(), 1e-4);
}

TEST(Wkb, TheFirstOrderTermHasMeanZeroOverTheModelsOwnSamples) {
  // E_{q^0}[l1] = 0 since q^h stays normalised: q^0 is N(0, 1) at t_max carried along the flow; the
  // mean is a lattice sum.
  const NoiseRule rule = noise_lattice(1, 0.1);
  SamplerOptions options;
  options.name = "ode";
  options.rtol = options.atol = 1e-7;
  const auto x = sample(wrong_mixture(), *simple(), options, rule.nodes, nullptr).x;
  const auto nll1 = wkb_exact(wrong_mixture(), *simple(), x, {.steps = 100}).term("nll1");
  const auto mean = (rule.weights * nll1).sum().item<double>();
  const auto mean_size = (rule.weights * nll1.abs()).sum().item<double>();
  EXPECT_GT(mean_size, 0.1);
  EXPECT_NEAR(mean, 0, 2e-3 * mean_size);
}

// A shape that rises towards the data: h(t) = h (1.2 - t)^2.
double rising(double t) { return (1.2 - t) * (1.2 - t); }

TEST(Wkb, OfATimeDependentKnobItIsTheSlopeOfThatKnobsLaw) {
  const auto problem = turned_problem();
  const auto x = torch::tensor({{0.3, -0.2}, {1.0, 0.5}}, torch::kFloat64);
  const auto slope = problem.slope_at_zero(*simple(), x, rising);
  const auto plain = problem.slope_at_zero(*simple(), x);
  EXPECT_GT((slope - plain).abs().min().item<double>(), 1e-3);  // the shape matters
  const auto result =
      wkb_exact(problem.denoiser(), *simple(), x, {.steps = 150, .hbar_shape = rising});
  expect_close(result.term("nll1"), slope, 1e-5);
  expect_close(result.term("nll0"), problem.nats(*simple(), x, 0), 1e-5);  // h = 0 has no shape
  const auto published = wkb_published(problem.denoiser(), *simple(), x, 18, 2e-3, rising);
  expect_close(published.term("nll1"), slope, 1e-2);
}

TEST(Wkb, AWindowsShareIsTheSlopeOfNoiseInThatWindowAlone) {
  const auto problem = turned_problem();
  const auto x = torch::tensor({{0.3, -0.2}, {1.0, 0.5}}, torch::kFloat64);
  const auto windows = wkb_windows(*simple(), 3);
  const auto result = wkb_exact(problem.denoiser(), *simple(), x, {.steps = 150, .windows = 3});
  auto sum = torch::zeros_like(result.nats);
  for (int64_t w = 0; w < 3; ++w) {
    const double from = windows.t[w].item<double>(), to = windows.t[w + 1].item<double>();
    const auto inside = [=](double t) { return t > from && t < to ? 1.0 : 0.0; };
    const auto share = result.term(windows.terms[static_cast<size_t>(w)]);
    // The moment equations' 500 steps of 0.034 nats blur each edge by a fraction of one.
    expect_close(share, problem.slope_at_zero(*simple(), x, inside), 0.02);
    sum += share;
  }
  expect_close(sum, result.term("nll1"), 1e-12);
  EXPECT_NEAR(windows.t[0].item<double>(), 0.01, 1e-9);
  EXPECT_NEAR(windows.t[3].item<double>(), 1, 1e-9);
}

TEST(Wkb, AFailedExampleIsNanAndTheOthersKeepTheirValues) {
  const auto good = wrong_mixture();
  const Denoiser broken = [&](const torch::Tensor& x, const NoiseLevel& level) {
    auto estimate = good(x, level);
    estimate.eps = torch::where(x > 3, std::nan(""), estimate.eps);
    return estimate;
  };
  const auto x = doubles({0.1, 4.0}).unsqueeze(1);
  const auto result = wkb_exact(broken, *simple(), x, {.steps = 50});
  expect_close(result.nats.slice(0, 0, 1),
               wkb_exact(good, *simple(), x.slice(0, 0, 1), {.steps = 50}).nats, 1e-12);
  EXPECT_TRUE(std::isnan(result.nats[1].item<double>()));
  EXPECT_TRUE(std::isnan(result.term("nll1")[1].item<double>()));
}

void expect_unbiased(const Denoiser& denoiser, const torch::Tensor& x, int64_t slots) {
  const auto exact = wkb_exact(denoiser, *simple(), x, {.steps = 100});
  const auto drawn = wkb_probed(denoiser, *simple(), x.repeat({slots, 1}), slot_range(0, slots),
                                {.steps = 40, .tangent_step = 0.01});
  for (const std::string term : {"nll0", "nll1"}) {
    const auto values = drawn.term(term);
    const double standard_error =
        values.std().item<double>() / std::sqrt(static_cast<double>(slots));
    const double expected = exact.term(term).item<double>();
    // 40 RK4 steps leave some 1e-3 of solver error.
    EXPECT_NEAR(values.mean().item<double>(), expected,
                4 * standard_error + 2e-3 * std::max(1.0, std::abs(expected)))
        << term;
    EXPECT_LT(4 * standard_error, 0.5 * std::abs(expected)) << term << ": a test without force";
  }
}

TEST(WkbProbed, IsUnbiasedForAMixture) {
  expect_unbiased(wrong_mixture(), doubles({0.8}).unsqueeze(1), 4000);
}

TEST(WkbProbed, IsUnbiasedWhereProbesDisturbTheAdjoint) {
  // A two-dimensional mixture: p is random with its probe, and p.p with one probe would
  // be too large.
  ScoreErrors errors;
  errors.score_scale = 1.1;
  const auto mixture = std::make_shared<GaussianMixture>(
      doubles({0.5, 0.5}), torch::tensor({{-0.6, 0.2}, {0.6, -0.3}}, torch::kFloat64),
      torch::tensor({{{0.2, 0.1}, {0.1, 0.2}}, {{0.1, -0.04}, {-0.04, 0.1}}}, torch::kFloat64));
  expect_unbiased(make_mixture_denoiser(mixture, errors),
                  torch::tensor({{0.9, 0.5}}, torch::kFloat64), 2000);
}

TEST(WkbProbed, TheSharesOfWindowsAreTheExactOnesAlsoOfATimeDependentKnob) {
  const auto x = doubles({0.8}).unsqueeze(1);
  const int64_t slots = 1500;
  for (const HbarShape& shape : {HbarShape(), HbarShape(rising)}) {
    const auto drawn =
        wkb_probed(wrong_mixture(), *simple(), x.repeat({slots, 1}), slot_range(0, slots),
                   {.steps = 40, .tangent_step = 0.01, .windows = 2, .hbar_shape = shape});
    const auto exact =
        wkb_exact(wrong_mixture(), *simple(), x, {.steps = 100, .windows = 2, .hbar_shape = shape});
    for (const std::string term : {"window_1", "window_2"}) {
      const auto values = drawn.term(term);
      const double error = values.std().item<double>() / std::sqrt(double(slots));
      EXPECT_NEAR(values.mean().item<double>(), exact.term(term).item<double>(), 4 * error + 0.01)
          << term;
    }
    expect_close(drawn.term("window_1") + drawn.term("window_2"), drawn.term("nll1"), 1e-12);
  }
}

TEST(WkbProbed, DependsOnItsSlotAloneAndReportsRepeatsAndCost) {
  const auto x = torch::tensor({{0.3, -0.2}, {1.0, 0.5}}, torch::kFloat64);
  const auto denoiser = turned_problem().denoiser();
  const WkbProbeOptions options{.steps = 20, .repeats = 3};
  const auto both = wkb_probed(denoiser, *simple(), x, {4, 9}, options);
  const auto alone = wkb_probed(denoiser, *simple(), x.slice(0, 1), {9}, options);
  expect_close(alone.term("nll1")[0], both.term("nll1")[1], 1e-10);
  EXPECT_TRUE((both.term("nll1_stderr") > 0).all().item<bool>());
  EXPECT_EQ(both.kind, ResultKind::estimate);
  // 3 repeats of 20 steps of 4 stages: 2 evaluations forwards and 20 backwards.
  EXPECT_EQ(both.nfe[0].item<double>(), 3 * 20 * 4 * 22.0);
}

TEST(WkbProbed, RejectsOddStepsAndOtherWrongOptionsByName) {
  const auto x = torch::zeros({1, 1}, torch::kFloat64);
  const auto call = [&](const WkbProbeOptions& options) {
    return [&, options] { wkb_probed(wrong_mixture(), *simple(), x, {0}, options); };
  };
  expect_error<ConfigError>(call({.steps = 7}), "steps = 7");
  expect_error<ConfigError>(call({.repeats = 0}), "repeats = 0");
  expect_error<ConfigError>(call({.tangent_step = -0.5}), "tangent_step = -0.5");
  expect_error<ConfigError>(call({.steps = 10, .windows = 3}), "3 windows of 10");
  expect_error<ConfigError>(
      [&] { wkb_exact(wrong_mixture(), *simple(), x, {.steps = 10, .windows = 3}); },
      "3 windows of 10");
  expect_error<ConfigError>([&] { wkb_windows(*simple(), -2); }, "windows = -2");
  expect_error<ConfigError>([&] { wkb_published(wrong_mixture(), *simple(), x, 0, 0.01); },
                            "steps = 0");
}

}  // namespace
}  // namespace scorenet::diffusion
