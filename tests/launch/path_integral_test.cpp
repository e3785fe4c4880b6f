// The path-integral system through the program: nll0, nll1, the knob h(t), ELBO_h and its
// importance-weighted form, samples.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <fstream>

#include "framework/diffusion/hbar_shape.hpp"
#include "tests/framework/diffusion/likelihood/affine_reverse.hpp"
#include "tests/launch/evaluate_case.hpp"

namespace scorenet::test {
namespace {

using testing::HasSubstr;

const std::string kErrors =
    "score_scale = 1.05\nscore_linear = [0.05, 0.2, -0.2, -0.1]\nscore_offset = [0.1, -0.05]";

double error_of_mean(const torch::Tensor& values) {
  return values.std().item<double>() / std::sqrt(static_cast<double>(values.numel()));
}

// Two correlated coordinates, the score scaled, turned and shifted: affine_reverse.hpp has its law
// at any h(t).
class TurnedScore : public testing::Test {
 protected:
  const AffineReverse problem = turned_problem();
  const std::shared_ptr<const diffusion::Schedule> schedule = schedule_named("vp_linear");
  const torch::Tensor x = doubles({0.1, -0.3, 0.9, 0.4, -0.6, -0.9}).view({3, 2});
  const Case c{
      "vp_linear", x, doubles({1}), problem.mean.unsqueeze(0), problem.covariance.unsqueeze(0),
      kErrors};
};

TEST_F(TurnedScore, BothOrdersAreTheMomentEquationsToFiveDigitsAndThePublishedSystemAgrees) {
  c.evaluate("--exact --metrics wkb --rtol 1e-7 --atol 1e-7");
  const auto slope = problem.slope_at_zero(*schedule, x);
  expect_equal(c.values("wkb_nll0"), problem.nats(*schedule, x, 0), 1e-5, "nll0");
  expect_equal(c.values("wkb_nll1"), slope, 1e-5, "nll1");
  // Two dozen steps of its own; central differences are exact for the quadratic l0 of
  // Gaussian laws.
  c.evaluate("--metrics wkb-published --steps 24");
  expect_equal(c.values("wkb-published_nll0"), problem.nats(*schedule, x, 0), 1e-2, "published");
  expect_equal(c.values("wkb-published_nll1"), slope, 3e-2, "published");
  EXPECT_EQ(c.metric("wkb-published")["kind"], "estimate");  // nobody checks its steps
}

TEST_F(TurnedScore, TheKnobMayDependOnTimeFromTextOrFile) {
  const std::string text = "0:1.2,1:0.2";
  const auto shape = diffusion::parse_hbar_shape(text);
  c.evaluate("--exact --metrics wkb,hbar-elbo --hbar 0.5 --steps 220 --hbar-schedule " + text);
  const auto slopes = c.values("wkb_nll1"), bounds = c.values("hbar-elbo")[0];
  expect_equal(slopes, problem.slope_at_zero(*schedule, x, shape), 1e-5, "nll1");
  EXPECT_TRUE((bounds >= problem.nats(*schedule, x, 0.5, shape)).all().item<bool>());
  EXPECT_GT((slopes - problem.slope_at_zero(*schedule, x)).abs().min().item<double>(), 1e-3);
  EXPECT_EQ(nlohmann::json::parse(text_of(c.file("out.json")))["hbar_schedule"], text);

  std::ofstream(c.file("h.txt")) << "# t and h(t)\n0 1.2\n\n1:0.2  # the noisy end\n";
  c.evaluate("--exact --metrics wkb,hbar-elbo --hbar 0.5 --steps 220 --hbar-schedule " +
             c.file("h.txt"));
  EXPECT_TRUE(torch::equal(c.values("wkb_nll1"), slopes));
  EXPECT_TRUE(torch::equal(c.values("hbar-elbo")[0], bounds));
}

TEST_F(TurnedScore, TheProfileSharesTheFirstOrderTermAmongWindows) {
  c.evaluate("--exact --metrics wkb --steps 60 --wkb-profile 4");
  const auto shares = c.values("wkb_profile");
  ASSERT_EQ(shares.sizes(), (std::vector<int64_t>{3, 4}));
  expect_equal(shares.sum(1), c.values("wkb_nll1"), 1e-10, "sum of shares");
  const auto profile = c.metric("wkb")["profile"];
  ASSERT_EQ(profile["t"].size(), 5u);
  EXPECT_NEAR(profile["t"][0].get<double>(), schedule->t_min(), 1e-9);
  EXPECT_NEAR(profile["t"][4].get<double>(), schedule->t_max(), 1e-9);
  for (size_t w = 0; w < 4; ++w) {
    const auto column = shares.select(1, static_cast<int64_t>(w));
    EXPECT_NEAR(profile["nll1_mean"][w].get<double>(), column.mean().item<double>(), 1e-12);
    EXPECT_NEAR(profile["nll1_stderr"][w].get<double>(), error_of_mean(column), 1e-12);
  }
  EXPECT_EQ(c.metric("wkb")["terms"].size(), 2u);  // windows are no terms of their own
}

struct Refused {
  std::string options, named;
};

TEST_F(TurnedScore, WhatHasNoNoiseKnobOrNoProfileIsRefusedByName) {
  const std::vector<Refused> cases = {
      {"--metrics ode --hbar-schedule 0:1", "--hbar-schedule"},
      {"--metrics wkb --hbar-schedule 0:1,half", "half"},
      {"--metrics w2 --sampler heun --hbar-schedule 0:1", "heun"},
      {"--metrics fd --features pixels --sampler heun --hbar-schedule 0:1", "heun"},
      {"--metrics ode --wkb-profile 4", "--wkb-profile"},
      {"--metrics wkb --wkb-profile 3 --steps 10", "3 windows of 10"},
  };
  for (const Refused& refused : cases) {
    const Outcome outcome = run("SCORENET " + c.command(refused.options));
    EXPECT_EQ(outcome.exit_code, 2) << refused.options << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(refused.named));
  }
  const Outcome absent =
      run("SCORENET " + c.command("--metrics wkb --hbar-schedule " + c.file("none.txt")));
  EXPECT_EQ(absent.exit_code, 3) << absent.err;
  EXPECT_THAT(absent.err, HasSubstr("none.txt"));
}

// NLL(h) measured by importance weights at two small h: the difference quotient 2 D(h) - D(2 h),
// D(h) = (NLL(h) - NLL(0)) / h, is that of the closed form, and that is nll1 up to O(h^2).
TEST(PathIntegral, TheSlopeOfTheMeasuredLikelihoodIsTheFirstOrderTerm) {
  const std::vector<Normal> laws = {{0.4, 0.3}, {-0.7, 1.5}};
  const Ends ends = ends_of(*schedule_named("vp_ramp"));
  const double scale = 1.1, h = 0.02;
  const auto point = doubles({0.6, 0.5}).view({1, 2});
  const Case c("vp_ramp", point.repeat({600, 1}), laws, "score_scale = 1.1");
  c.evaluate(
      "--metrics hbar-iw --exact-trace --hbar 0,0.02,0.04 --paths 16 --steps 40 --batch 600");
  const auto nats = c.values("hbar-iw");
  const auto slopes = 2 * (nats[1] - nats[0]) / h - (nats[2] - nats[0]) / (2 * h);
  const auto closed = [&](double hbar) {
    return over_coordinates(point, laws,
                            [&](double v, const Normal& law) {
                              return reverse_nats(v, law, ends, hbar, scale);
                            })[0]
        .item<double>();
  };
  const double quotient = 2 * (closed(h) - closed(0)) / h - (closed(2 * h) - closed(0)) / (2 * h);
  const double nll1 = over_coordinates(point, laws,
                                       [&](double v, const Normal& law) {
                                         return reverse_slope(v, law, ends, scale);
                                       })[0]
                          .item<double>();
  EXPECT_NEAR(quotient, nll1, 0.15 * std::abs(nll1));  // h log r is 0.2
  EXPECT_NEAR(slopes.mean().item<double>(), quotient, 4 * error_of_mean(slopes) + 0.01);
  EXPECT_LT(4 * error_of_mean(slopes), 0.8 * std::abs(nll1)) << "a test without force";
}

TEST(PathIntegral, ThePublishedSystemRefusesManyDimensions) {
  const std::vector<Normal> laws(17, Normal{0.0, 1.0});
  const Case c("vp_linear", points_of(laws, 1), laws);
  const Outcome refused = run("SCORENET " + c.command("--metrics wkb-published"));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("17 dimensions"));
}

// A mixture with a scaled and turned score has no closed form. Its own samples know one thing: q^h
// stays normalised, so the mean of l1 = -nll1 over q^0 is zero.
TEST(PathIntegral, OfAMixtureThePublishedSystemAgreesAndItsOwnSamplesHaveMeanZero) {
  const auto x = doubles({-0.8, 0.3, 0.5, -0.4}).view({2, 2});
  const Case c("vp_ramp", x, doubles({0.35, 0.65}), doubles({-0.8, 0.3, 0.6, -0.2}).view({2, 2}),
               doubles({0.10, 0.03, 0.03, 0.20, 0.15, -0.05, -0.05, 0.12}).view({2, 2, 2}),
               "score_scale = 1.1\nscore_linear = [0, 0.2, -0.2, 0]");
  c.evaluate("--exact --metrics wkb --steps 150");
  const auto nll0 = c.values("wkb_nll0"), nll1 = c.values("wkb_nll1");
  c.evaluate("--metrics wkb-published --steps 24 --wkb-spacing 0.003");
  expect_equal(c.values("wkb-published_nll0"), nll0, 1e-2, "nll0");
  expect_equal(c.values("wkb-published_nll1"), nll1, 3e-2, "nll1");
  EXPECT_GT(nll1.abs().min().item<double>(), 0.1);

  const Outcome sampled =
      run("OMP_NUM_THREADS=1 SCORENET sample --config " + c.file("model.toml") +
          " --seeds 0-999 --sampler ode --batch 1000 --save-h5 --outdir " + c.file("s"));
  ASSERT_EQ(sampled.exit_code, 0) << sampled.err;
  write_points(c.file("points.h5"), read_array(c.file("s/samples.h5"), "/samples"));
  c.evaluate("--exact --metrics wkb --steps 50 --batch 1000");
  const auto over_samples = c.values("wkb_nll1");
  EXPECT_LT(std::abs(over_samples.mean().item<double>()), 4 * error_of_mean(over_samples));
  EXPECT_GT(over_samples.std().item<double>(), 0.3);
}

// V(h) = alpha_0^2 [(P / alpha_1^2) r^q + h w_0^q int w^-q dw] of gaussian_model.hpp; the sampler
// is of second order.
TEST(PathIntegral, SamplesHaveTheVarianceOfTheReverseFamilyAtEachH) {
  const std::vector<Normal> laws = {{0.4, 0.3}, {-0.7, 1.5}};
  const double scale = 1.2;
  const int64_t n = 4000;
  const Case c("vdm_linear", points_of(laws, 1), laws, "score_scale = 1.2");
  const Ends ends = ends_of(*schedule_named("vdm_linear"));
  for (const double hbar : {0.0, 0.3, 1.0}) {
    const Outcome sampled = run(
        "OMP_NUM_THREADS=1 SCORENET sample --config " + c.file("model.toml") + " --seeds 0-" +
        std::to_string(n - 1) + " --sampler dpmpp-2m-sde --spacing log-snr --steps 150 --hbar " +
        std::to_string(hbar) + " --batch 4000 --save-h5 --outdir " + c.file("s"));
    ASSERT_EQ(sampled.exit_code, 0) << sampled.err;
    const auto samples = read_array(c.file("s/samples.h5"), "/samples");
    for (int64_t d = 0; d < 2; ++d) {
      const Law law = reverse_law(laws[static_cast<size_t>(d)], ends, hbar, scale);
      // Four standard errors of the variance of n normal draws, and 1 % for the 150 steps.
      EXPECT_NEAR(samples.select(1, d).var().item<double>(), law.variance,
                  law.variance * (4 * std::sqrt(2.0 / n) + 0.01))
          << hbar;
    }
  }
}

TEST(PathIntegral, ASampledPathIsWrittenWithItsTimesAndAConstantScheduleIsAFactor) {
  const std::vector<Normal> laws = {{0.4, 0.3}, {-0.7, 1.5}};
  const Case c("vp_linear", points_of(laws, 1), laws);
  const auto sample = [&](const std::string& options, const std::string& folder) {
    const Outcome sampled =
        run("OMP_NUM_THREADS=1 SCORENET sample --config " + c.file("model.toml") +
            " --seeds 3-7 --batch 2 --steps 6 --sampler euler-maruyama --outdir " + c.file(folder) +
            " " + options);
    ASSERT_EQ(sampled.exit_code, 0) << sampled.err;
  };
  sample("--hbar 0.8 --hbar-schedule 0:0.5 --trajectory", "a");
  sample("--hbar 0.4", "b");
  const auto samples = read_array(c.file("a/samples.h5"), "/samples");
  EXPECT_TRUE(torch::equal(samples, read_array(c.file("b/samples.h5"), "/samples")));
  const auto path = read_array(c.file("a/samples.h5"), "/path");
  ASSERT_EQ(path.sizes(), (std::vector<int64_t>{5, 7, 2}));
  EXPECT_TRUE(torch::equal(path.select(1, 6), samples));
  const auto t = read_array(c.file("a/samples.h5"), "/path_t");
  EXPECT_EQ(t[0].item<double>(), 1);
}

// x = 1e200 squares to infinity: that example counts for no h, and the choice says so.
TEST(PathIntegral, TheBestHSaysHowManyExamplesItComparedAndWhichHAreAsGood) {
  const std::vector<Normal> laws = {{0.4, 0.3}};
  const Case c("vp_linear", doubles({0.1, 1e200, 0.5, 0.9}).view({4, 1}), laws,
               "score_scale = 1.1");
  c.evaluate("--exact --metrics hbar-elbo --hbar 0,0.5,1 --steps 100 --best-hbar");
  const auto best = c.metric("hbar-elbo")["best_hbar"];
  EXPECT_EQ(best["compared"], 3);
  EXPECT_EQ(best["failed"], 1);
  EXPECT_LE(best["hbar_low"].get<double>(), best["hbar"].get<double>());
  EXPECT_GE(best["hbar_high"].get<double>(), best["hbar"].get<double>());
  EXPECT_GE(best["gain"].get<double>(), 0);
}

}  // namespace
}  // namespace scorenet::test
