// scorenet evaluate on analytic models that a user could write, against values derived
// by hand (gaussian_model.hpp).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <map>
#include <nlohmann/json.hpp>

#include "tests/framework/diffusion/likelihood/affine_reverse.hpp"
#include "tests/launch/evaluate_case.hpp"

namespace scorenet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::vector<Normal> kLaws = {{0.4, 0.3}, {-0.7, 1.5}, {0.0, 0.05}};

std::vector<Normal> first_laws(size_t dims) {
  return {kLaws.begin(), kLaws.begin() + static_cast<ptrdiff_t>(dims)};
}

class OnEverySchedule : public testing::TestWithParam<std::string> {
 protected:
  const std::shared_ptr<const diffusion::Schedule> schedule = schedule_named(GetParam());
  const Ends ends = ends_of(*schedule);
  // 1 and 2 in turn over the schedules; 3, whose cubature costs several times as much, on
  // one of them.
  size_t dims() const {
    const auto at = std::find(kSchedules.begin(), kSchedules.end(), GetParam());
    return GetParam() == "vdm_linear" ? 3 : 1 + static_cast<size_t>(at - kSchedules.begin()) % 2;
  }
};

TEST_P(OnEverySchedule, ExactValuesOfGaussianDataAreTheClosedForms) {
  const auto laws = first_laws(dims());
  const auto x = points_of(laws, 5);
  const Case c(GetParam(), x, laws);
  c.evaluate("--exact --metrics elbo,mcallester,immse,ode,wkb");

  expect_equal(c.values("elbo"),
               over_coordinates(x, laws, [&](double v, auto& l) { return elbo_nats(v, l, ends); }),
               1e-6, "elbo");
  expect_equal(c.values("immse"),
               over_coordinates(x, laws, [&](double v, auto& l) { return immse_nats(v, l, ends); }),
               1e-6, "immse");
  // McAllester's formula with the true end terms is -log p(x0) itself.
  expect_equal(c.values("mcallester"),
               over_coordinates(
                   x, laws, [](double v, auto& l) { return normal_nats(v, {l.mean, l.variance}); }),
               1e-6, "mcallester");
  const auto law_nats =
      over_coordinates(x, laws, [&](double v, auto& l) { return reverse_nats(v, l, ends, 0, 1); });
  expect_equal(c.values("ode"), law_nats, 1e-6, "ode");
  expect_equal(c.values("wkb_nll0"), law_nats, 1e-6, "wkb nll0");
  expect_equal(
      c.values("wkb_nll1"),
      over_coordinates(x, laws, [&](double v, auto& l) { return reverse_slope(v, l, ends, 1); }),
      1e-5, "wkb nll1");
  EXPECT_EQ(c.metric("elbo")["kind"], "bound");
  EXPECT_EQ(c.metric("mcallester")["kind"], "exact");
  EXPECT_EQ(c.metric("ode")["kind"], "exact");
  EXPECT_EQ(c.metric("immse")["kind"], "estimate");
}

TEST_P(OnEverySchedule, DrawnValuesAreWithinFourStandardErrorsOfTheClosedForms) {
  const auto laws = first_laws(dims());
  const auto x = points_of(laws, 400);
  const Case c(GetParam(), x, laws);
  c.evaluate("--metrics elbo,mcallester --time-samples 16 --batch 400");
  expect_unbiased(
      c.values("elbo"),
      over_coordinates(x, laws, [&](double v, auto& l) { return elbo_nats(v, l, ends); }), 0.3,
      "elbo");
  expect_unbiased(
      c.values("mcallester"),
      over_coordinates(x, laws,
                       [](double v, auto& l) { return normal_nats(v, {l.mean, l.variance}); }),
      0.3, "mcallester");
  const auto terms = c.metric("elbo")["terms"];
  EXPECT_NEAR(terms["prior"].get<double>() + terms["diffusion"].get<double>() +
                  terms["reconstruction"].get<double>(),
              c.metric("elbo")["nats_mean"].get<double>(), 1e-9);
}

// A score that is scaled: the probability-flow ODE, its slope in h and the reverse family still
// have closed forms.
TEST_P(OnEverySchedule, AWronglyScaledScoreHasTheLawThatItsReverseFamilyHas) {
  const auto laws = first_laws(dims());
  const auto x = points_of(laws, 5);
  const double scale = 1.1;
  const Case c(GetParam(), x, laws, "score_scale = 1.1");
  c.evaluate("--exact --metrics ode,wkb");
  expect_equal(c.values("ode"),
               over_coordinates(
                   x, laws, [&](double v, auto& l) { return reverse_nats(v, l, ends, 0, scale); }),
               1e-6, "ode");
  expect_equal(c.values("wkb_nll1"),
               over_coordinates(
                   x, laws, [&](double v, auto& l) { return reverse_slope(v, l, ends, scale); }),
               1e-5, "wkb nll1");
}

// hbar_elbo.hpp: with z ~ q(z | x) at t_min, E[-ELBO_1(z)] - D log alpha_0 is the bound with the
// flat decoder. For Gaussian data -ELBO_1 is quadratic in z, so the mean over alpha_0 x +- sigma_0
// sqrt(D) e_i is that expectation. 120 Runge-Kutta steps.
TEST_P(OnEverySchedule, HbarElboIsOdeAtZeroAndTheElboOfTheStateAtOne) {
  const auto laws = first_laws(2);
  const auto x = points_of(laws, 3);
  std::vector<torch::Tensor> states;
  for (int64_t d = 0; d < 2; ++d) {
    for (const double sign : {1.0, -1.0}) {
      auto z = ends.alpha0 * x;
      z.select(1, d) += sign * ends.sigma0 * std::sqrt(2.0);
      states.push_back(z);
    }
  }
  const Case c(GetParam(), torch::cat(states), laws);
  c.evaluate("--exact --metrics hbar-elbo,ode --hbar 0,1 --steps 120");
  expect_equal(c.values("hbar-elbo")[0], c.values("ode"), 1e-10, "hbar-elbo at 0 is ode");
  const auto mean = c.values("hbar-elbo")[1].view({4, 3}).mean(0) - 2 * std::log(ends.alpha0);
  expect_equal(mean,
               over_coordinates(x, laws, [&](double v, auto& l) { return elbo_nats(v, l, ends); }),
               1e-4, "elbo of the state");
}

INSTANTIATE_TEST_SUITE_P(Schedules, OnEverySchedule, testing::ValuesIn(kSchedules),
                         [](const auto& of) { return of.param; });

// Two correlated coordinates, a score that is scaled, turned and shifted: the moment
// equations of affine_reverse.hpp.
TEST(Evaluate, AScoreWithAllErrorTermsHasTheLawOfItsMomentEquations) {
  const auto problem = turned_problem();
  const auto schedule = schedule_named("vp_linear");
  const auto x = doubles({0.1, -0.3, 0.9, 0.4, -0.6, -0.9}).view({3, 2});
  const Case c("vp_linear", x, doubles({1}), problem.mean.unsqueeze(0),
               problem.covariance.unsqueeze(0),
               "score_scale = 1.05\nscore_linear = [0.05, 0.2, -0.2, -0.1]\nscore_offset = [0.1, "
               "-0.05]");
  c.evaluate("--exact --metrics ode,wkb,mcallester,hbar-elbo --hbar 0.5 --steps 150");
  expect_equal(c.values("ode"), problem.nats(*schedule, x, 0), 1e-5, "ode");
  expect_equal(c.values("wkb_nll1"), problem.slope_at_zero(*schedule, x), 1e-4, "nll1");
  EXPECT_TRUE((c.values("hbar-elbo")[0] >= problem.nats(*schedule, x, 0.5)).all().item<bool>());
  EXPECT_EQ(c.metric("mcallester")["kind"], "estimate");  // its end terms are not the data's
}

// h = 0 is the likelihood itself, h > 0 bounds it: the order in which they are asked for
// changes no kind.
TEST(Evaluate, EachHCarriesItsKindAndTheMetricTheWeakest) {
  const auto laws = first_laws(1);
  const Case c("vdm_linear", points_of(laws, 2), laws);
  for (const std::string hbars : {"0,1", "1,0"}) {
    const Outcome outcome = run("OMP_NUM_THREADS=1 SCORENET " +
                                c.command("--exact --metrics hbar-elbo --hbar " + hbars));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(c.metric("hbar-elbo")["kind"], "bound") << hbars;
    for (const auto& entry : c.metric("hbar-elbo")["per_hbar"])
      EXPECT_EQ(entry["kind"], entry["hbar"] == 0.0 ? "exact" : "bound") << hbars;
    EXPECT_THAT(outcome.out, AllOf(testing::ContainsRegex("at h = 0 .*\\(exact"),
                                   testing::ContainsRegex("at h = 1 .*\\(bound")));
  }
  c.evaluate("--exact --metrics hbar-elbo --hbar 0");
  EXPECT_EQ(c.metric("hbar-elbo")["kind"], "exact");
}

// The cubature's points see nothing of the second mode, and the other points of its
// neighbourhood do.
TEST(Evaluate, ExactIsRefusedWhereTwoRulesDifferWithThePlaceAndTheExample) {
  const Case c("vdm_linear\"\ngamma_max = 0 #\"", torch::zeros({1, 3}, torch::kFloat64),
               doubles({0.5, 0.5}), doubles({0, 0, 0, 5, 0, 0}).view({2, 3}),
               0.2 * torch::eye(3, torch::kFloat64).repeat({2, 1, 1}));
  for (const std::string metric : {"mcallester", "elbo", "elbo-10", "immse"}) {
    const Outcome refused = run("SCORENET " + c.command("--exact --metrics " + metric));
    EXPECT_EQ(refused.exit_code, 2) << metric;
    EXPECT_THAT(refused.err, AllOf(HasSubstr("log_snr"), HasSubstr("x = (0, 0, 0)"),
                                   HasSubstr("Leave out --exact")));
  }
}

class OfAMixture : public testing::Test {
 protected:
  const torch::Tensor weights = doubles({0.35, 0.65});
  const torch::Tensor means = doubles({-0.8, 0.3, 0.6, -0.2}).view({2, 2});
  const torch::Tensor covariances =
      doubles({0.10, 0.03, 0.03, 0.20, 0.15, -0.05, -0.05, 0.12}).view({2, 2, 2});
  const torch::Tensor x = doubles({-0.8, 0.3, 0.0, 0.0, 0.5, -0.4, 1.4, 0.7}).view({4, 2});
  const Case c{"vdm_linear", x, weights, means, covariances};

  // log sum_k w_k N(x; m_k, C_k) for rows.
  torch::Tensor density_nats() const {
    std::vector<torch::Tensor> logs;
    for (int64_t k = 0; k < 2; ++k) {
      const auto gap = x - means[k];
      const auto energy = (torch::matmul(gap, torch::linalg_inv(covariances[k])) * gap).sum(1);
      logs.push_back(weights[k].log() - 0.5 * (energy + torch::logdet(covariances[k])) -
                     std::log(2 * std::numbers::pi));
    }
    return -torch::logsumexp(torch::stack(logs), 0);
  }
};

TEST_F(OfAMixture, McAllesterIsMinusLogPAtEveryPoint) {
  c.evaluate("--exact --metrics mcallester");
  expect_equal(c.values("mcallester"), density_nats(), 1e-6, "mcallester");
}

TEST_F(OfAMixture, WhatHasNoExactFormIsRefusedInASentence) {
  for (const auto& [metrics, named] :
       std::map<std::string, std::string>{{"hbar-iw", "hbar-iw"}, {"hbar-elbo", "affine"}}) {
    const Outcome refused = run("SCORENET " + c.command("--exact --metrics " + metrics));
    EXPECT_EQ(refused.exit_code, 2) << metrics;
    EXPECT_THAT(refused.err, HasSubstr(named));
  }
}

struct Refused {
  std::string options, named;
};

TEST_F(OfAMixture, OptionsThatDoNotGoTogetherAreNamed) {
  const std::vector<Refused> cases = {
      {"--metrics elbo --best-hbar", "--best-hbar"},
      {"--metrics hbar-elbo --hbar 0.5,-1", "-1"},
      {"--metrics ode --dequantise uniform", "continuous"},
      {"--metrics wkb --steps 7", "7"},
      {"--metrics ode,odd", "odd"},
      {"--metrics elbo --decoder softmax", "softmax"},
  };
  for (const Refused& refused : cases) {
    const Outcome outcome = run("SCORENET " + c.command(refused.options));
    EXPECT_EQ(outcome.exit_code, 2) << refused.options << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(refused.named));
  }
}

// Every path estimate is a function of seed and example; batches are the same whoever
// computes them.
TEST_F(OfAMixture, NumbersAreBitwiseTheSameOnOneTwoAndThreeRanks) {
  write_points(c.file("points.h5"), x.repeat({2, 1}).slice(0, 0, 5));
  const std::string options =
      "--metrics elbo,ode,mcallester,immse,wkb,hbar-elbo,hbar-iw --batch 2 --hbar 0,0.3 --steps 8 "
      "--paths 2";
  const std::vector<std::string> names = {"elbo",     "ode",      "mcallester", "immse",
                                          "wkb_nll0", "wkb_nll1", "hbar-elbo",  "hbar-iw"};
  std::map<std::string, torch::Tensor> alone;
  c.evaluate(options);
  for (const auto& name : names) alone[name] = c.values(name);
  const double mean = c.metric("hbar-iw")["per_hbar"][1]["nats_mean"];
  for (const int ranks : {2, 3}) {
    c.evaluate(options, mpirun(ranks));
    for (const auto& name : names)
      EXPECT_TRUE(torch::equal(c.values(name), alone[name])) << name << " on " << ranks;
    EXPECT_EQ(c.metric("hbar-iw")["per_hbar"][1]["nats_mean"].get<double>(), mean);
  }
}

// In expectation -log q^h <= E[-IW_K] <= E[-ELBO_h], and more paths come closer; at h = 0 all
// three are one.
TEST(Evaluate, MorePathsTightenTheBoundTowardsTheLawAtThatHbar) {
  const auto laws = first_laws(2);
  const auto x = points_of(laws, 100);
  const Case c("vdm_linear", x, laws, "score_scale = 1.1");
  const Ends ends = ends_of(*schedule_named("vdm_linear"));
  c.evaluate(
      "--metrics hbar-elbo,hbar-iw --hbar 0,0.5 --paths 8 --steps 60 --exact-trace --best-hbar");
  const auto exact = over_coordinates(
      x, laws, [&](double v, auto& l) { return reverse_nats(v, l, ends, 0.5, 1.1); });
  const auto importance = c.values("hbar-iw")[1], bound = c.values("hbar-elbo")[1];
  EXPECT_TRUE(torch::equal(c.values("hbar-iw_hbars"), doubles({0, 0.5})));
  EXPECT_LT(importance.mean().item<double>(), bound.mean().item<double>());
  const auto gap = importance - exact;
  const double error = gap.std().item<double>() / 10;
  EXPECT_GT(gap.mean().item<double>(), -4 * error);
  EXPECT_LT(gap.mean().item<double>(), 0.1 * (bound - exact).mean().item<double>() + 4 * error);
  expect_equal(c.values("hbar-iw")[0], c.values("hbar-elbo")[0], 1e-12, "h = 0");

  // The best h is the smallest of the means; the gain is measured against h = 0 on
  // the same examples.
  const auto m = c.metric("hbar-iw");
  const auto means = c.values("hbar-iw").mean(1);
  const int64_t best = means.argmin().item<int64_t>();
  EXPECT_EQ(m["best_hbar"]["hbar"], best == 0 ? 0.0 : 0.5);
  EXPECT_EQ(m["best_hbar"]["reference_hbar"], 0.0);
  EXPECT_NEAR(m["best_hbar"]["gain"].get<double>(), (means[0] - means[best]).item<double>(), 1e-9);
  ASSERT_EQ(m["per_hbar"].size(), 2u);
  EXPECT_EQ(m["per_hbar"][1]["hbar"], 0.5);
  EXPECT_NEAR(m["per_hbar"][1]["nats_mean"].get<double>(), means[1].item<double>(), 1e-9);
  EXPECT_NEAR(m["per_hbar"][1]["nats_stderr"].get<double>(), importance.std().item<double>() / 10,
              1e-9);
  // Both came from one draw of the paths, which is what either draws alone.
  const auto both = c.values("hbar-iw").clone();
  c.evaluate("--metrics hbar-iw --hbar 0,0.5 --paths 8 --steps 60 --exact-trace");
  EXPECT_TRUE(torch::equal(c.values("hbar-iw"), both));
}

TEST(Evaluate, WkbWithProbesIsUnbiasedAndReportsItsSpread) {
  const auto laws = first_laws(2);
  const auto x = points_of(laws, 200);
  const Case c("vdm_linear", x, laws, "score_scale = 1.1");
  const Ends ends = ends_of(*schedule_named("vdm_linear"));
  c.evaluate("--metrics wkb --batch 200 --probes 2");
  const auto slopes = c.values("wkb_nll1");
  expect_unbiased(
      slopes,
      over_coordinates(x, laws, [&](double v, auto& l) { return reverse_slope(v, l, ends, 1.1); }),
      0.5, "nll1");
  const auto m = c.metric("wkb");
  EXPECT_EQ(m["kind"], "estimate");
  EXPECT_EQ(m["failed"], 0);
  EXPECT_NEAR(m["nll0_mean"].get<double>(), c.values("wkb_nll0").mean().item<double>(), 1e-9);
  EXPECT_NEAR(m["nll1_mean"].get<double>(), slopes.mean().item<double>(), 1e-9);
  EXPECT_NEAR(m["nll1_stderr"].get<double>(),
              slopes.std().item<double>() / std::sqrt(static_cast<double>(slopes.numel())), 1e-9);
  EXPECT_NEAR(m["nll1_median"].get<double>(), slopes.quantile(0.5).item<double>(), 1e-9);
  EXPECT_NEAR(m["nll1_q05"].get<double>(), slopes.quantile(0.05).item<double>(), 1e-9);
  EXPECT_NEAR(m["nll1_q95"].get<double>(), slopes.quantile(0.95).item<double>(), 1e-9);
}

// x = 1e200 squares to infinity in the prior: that example has no value, and the
// others keep theirs.
TEST(Evaluate, AnExampleWithoutAFiniteValueIsCountedAndNotLeftOut) {
  const auto laws = first_laws(1);
  const Case c("vp_linear", doubles({0.1, 1e200, 0.5}).view({3, 1}), laws);
  c.evaluate("--exact --metrics ode,wkb");
  const auto values = c.values("ode");
  ASSERT_EQ(values.numel(), 3);
  EXPECT_FALSE(std::isfinite(values[1].item<double>()));
  for (const char* name : {"ode", "wkb"}) {
    const auto m = c.metric(name);
    EXPECT_EQ(m["n"], 3);
    EXPECT_EQ(m["failed"], 1);
    EXPECT_NEAR(m["nats_mean"].get<double>(),
                (values[0].item<double>() + values[2].item<double>()) / 2, 1e-6);
  }
}

class OfLevels : public testing::Test {
 protected:
  // Two pixels; a law so narrow that it changes within a bin of width 2 / 256.
  const std::vector<Normal> laws = {{0.1, 1e-4}, {-0.2, 1e-4}};
  const torch::Tensor levels =
      torch::tensor({140, 102, 141, 102}, torch::kUInt8).view({2, 1, 1, 2});
  const Case c{"edm", levels, laws};
  const Ends ends = ends_of(*schedule_named("edm"));

  // -log P of the bins [x_k - 1/256, x_k + 1/256], x_k = (2 k + 1) / 256 - 1, under the
  // probability-flow ODE's law. (edm has alpha = 1, so the bins are the same for the
  // state at t_min.)
  torch::Tensor probability_nats() const {
    auto sums = torch::zeros({2}, torch::kFloat64);
    for (int64_t i = 0; i < 2; ++i) {
      for (int64_t d = 0; d < 2; ++d) {
        const double x = (2 * levels.view({2, 2})[i][d].item<double>() + 1) / 256 - 1;
        const Law law = reverse_law(laws[static_cast<size_t>(d)], ends, 0, 1);
        const auto below = [&](double edge) {
          return 0.5 * std::erfc(-(edge - law.mean) / std::sqrt(2 * law.variance));
        };
        sums[i] -= std::log(below(x + 1.0 / 256) - below(x - 1.0 / 256));
      }
    }
    return sums;
  }
};

// The importance-weighted value tends to -log P; with 20 draws of relative spread about 1 its error
// is 0.22. A missing -log K would be 3.0 nats, a second offset of log 128 a pixel 9.7.
TEST_F(OfLevels, EveryDequantisationTendsToTheProbabilityOfTheBin) {
  for (const char* how : {"uniform", "truncated-normal", "variational"}) {
    c.evaluate("--exact --metrics ode --steps 40 --dequantise-samples 20 --dequantise " +
               std::string(how));
    EXPECT_LT((c.values("ode") - probability_nats()).abs().max().item<double>(), 0.6) << how;
    const auto m = c.metric("ode");
    EXPECT_EQ(m["kind"], "bound");
    EXPECT_NEAR(m["bits_per_dim"].get<double>(), m["nats_mean"].get<double>() / (2 * std::log(2.0)),
                1e-9);
    EXPECT_NEAR(m["terms"]["prior"].get<double>() + m["terms"]["volume"].get<double>() +
                    m["terms"]["dequantisation"].get<double>(),
                m["nats_mean"].get<double>(), 1e-9);
  }
}

// All three read -log p of the same draws at h = 0; their Runge-Kutta errors differ.
TEST_F(OfLevels, DensitiesAgreeOnTheSameDraws) {
  c.evaluate("--exact --metrics ode,wkb,hbar-elbo --hbar 0 --steps 60 --dequantise-samples 2");
  expect_equal(c.values("wkb_nll0"), c.values("ode"), 1e-3, "wkb");
  expect_equal(c.values("hbar-elbo")[0], c.values("ode"), 1e-9, "hbar-elbo");
}

// One uniform draw: the offset is log 128 a pixel, 7 bits a dimension, and nothing else.
TEST_F(OfLevels, OneUniformDrawAddsSevenBitsADimension) {
  c.evaluate("--exact --metrics ode,elbo");
  EXPECT_NEAR(c.metric("ode")["terms"]["dequantisation"].get<double>(), 2 * 7 * std::log(2.0),
              1e-9);
  EXPECT_FALSE(c.metric("elbo")["terms"].contains("dequantisation"));  // its decoder knows levels
}

TEST_F(OfLevels, TruncatedNormalIsRefusedWhereTheDataIsTheStart) {
  const Outcome refused =
      run("SCORENET " + c.command("--metrics immse --dequantise truncated-normal"));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("truncated-normal"), HasSubstr("immse")));
}

// Samples of N(m, s^2) against points that are all m + d: the only coupling gives W2^2 = mean
// |y - m - d|^2, in expectation s^2 + d^2, and its variance over 500 samples is
// (2 s^4 + 4 d^2 s^2) / 500.
TEST(Evaluate, W2OfSamplesAgainstOnePointIsTheMeanSquaredDistance) {
  const auto laws = std::vector<Normal>{{0.4, 0.3}};
  const Case c("vp_linear", torch::full({500, 1}, 0.4 + 2.0, torch::kFloat64), laws);
  c.evaluate("--metrics w2 --sampler heun --sampler-steps 40");
  const auto m = c.metric("w2");
  EXPECT_NEAR(m["w2_squared"].get<double>(), 4.0 + 0.3, 4 * std::sqrt((2 * 0.09 + 16 * 0.3) / 500));
  EXPECT_NEAR(m["w2"].get<double>(), std::sqrt(m["w2_squared"].get<double>()), 1e-12);
  EXPECT_EQ(m["n"], 500);
}

// score_sde's norms: a mean over all seeds. The same on any number of ranks (but for the rounding
// of two sums), other than with each example's own, and of one seed alone its own.
TEST(Sample, PcTakesItsNormsOverTheGlobalBatchWhereAsked) {
  const auto laws = first_laws(2);
  const Case c("vp_linear", points_of(laws, 1), laws);
  const auto samples = [&](const std::string& program, const std::string& options) {
    const Outcome outcome =
        run("OMP_NUM_THREADS=1 " + program + " sample --config " + c.file("model.toml") +
            " --sampler pc --steps 20 --save-h5 --outdir " + c.file("s") + " " + options);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return read_array(c.file("s/samples.h5"), "/samples");
  };
  const auto one = samples("SCORENET", "--seeds 0-6 --corrector-norms batch");
  const auto three = samples(mpirun(3), "--seeds 0-6 --corrector-norms batch");
  EXPECT_TRUE(torch::allclose(three, one, 1e-10, 1e-10));
  EXPECT_GT((samples("SCORENET", "--seeds 0-6") - one).abs().max().item<double>(), 1e-3);
  EXPECT_TRUE(torch::equal(samples("SCORENET", "--seeds 3 --corrector-norms batch"),
                           samples("SCORENET", "--seeds 3")));
  const std::string rest = " sample --config " + c.file("model.toml") + " --outdir " + c.file("s") +
                           " --corrector-norms batch ";
  const Outcome other = run("SCORENET" + rest + "--sampler heun");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("heun"));
  const Outcome few = run(mpirun(2) + rest + "--sampler pc --seeds 3");
  EXPECT_EQ(few.exit_code, 2);
  EXPECT_THAT(few.err, AllOf(HasSubstr("1 seeds"), HasSubstr("2 ranks")));
}

// The features "pixels" of one-dimensional points are the points. Data all at one place has
// covariance 0, so fd = d^2 + s^2 / (n - 1) sums against w2_squared = d^2 + s^2 / n sums: they
// differ by s^2 / n. No sample lies within a ball of radius 0. The kernel distance of two clouds
// that do not overlap is many errors above 0.
TEST(Evaluate, FeatureMetricsOfOneDrawOfSamples) {
  const int64_t n = 200;
  const Case c("vp_linear", torch::full({n, 1}, 0.4 + 2.0, torch::kFloat64), {{0.4, 0.3}});
  c.evaluate("--metrics fd,w2,kid,pr --features pixels --sampler heun --sampler-steps 20");
  const double squared = c.metric("w2")["w2_squared"].get<double>();
  EXPECT_NEAR(c.metric("fd")["fd"].get<double>() - squared, 0.3 / n, 0.1 / n);
  EXPECT_GT(c.metric("kid")["kid"].get<double>(), 10 * c.metric("kid")["kid_stderr"].get<double>());
  EXPECT_EQ(c.metric("pr")["precision"], 0);
  EXPECT_EQ(c.metric("fd")["features"], "pixels");
  EXPECT_EQ(c.metric("kid")["n"], n);
}

TEST(Evaluate, FeatureMetricsAreTheSameOnTwoRanks) {
  const Case c("vp_linear", torch::linspace(-1, 1, 50, torch::kFloat64).unsqueeze(1), {{0.0, 0.3}});
  const std::string options =
      "--metrics fd,pr --features pixels --sampler ddim --sampler-steps 10 --batch 16";
  c.evaluate(options);
  const auto fd = c.metric("fd")["fd"].get<double>();
  c.evaluate(options, "mpirun -n 2 --oversubscribe SCORENET");
  EXPECT_NEAR(c.metric("fd")["fd"].get<double>(), fd, 1e-12);
}

double fd_of(const Case& c) { return c.metric("fd")["fd"].get<double>(); }

// Samples of x = -1 and 1 in equal numbers, beside y = 2 x: mean 0, and with 1 / (n - 1) the
// covariance n / (n - 1) (1, 2; 2, 4).
void write_samples(const std::string& path, int64_t n) {
  const auto x = (2 * torch::arange(n, torch::kFloat64).remainder(2) - 1).unsqueeze(1);
  auto file = data::Hdf5File::create(path);
  file.write_array("/samples", torch::cat({x, 2 * x}, 1));
  file.close();
}

TEST(Evaluate, GivenSamplesAndGivenMomentsHaveTheDistanceOfTheirGaussians) {
  const Case c("vp_linear", torch::ones({8, 2}, torch::kFloat64), {{0.0, 0.3}, {0.0, 0.3}});
  write_samples(c.file("samples.h5"), 20);
  for (const bool of_edm : {false, true}) {
    auto file = data::Hdf5File::create(c.file("moments.h5"));
    file.write_array(of_edm ? "/mu" : "/mean", torch::tensor({3.0, -1.0}, torch::kFloat64));
    file.write_array(of_edm ? "/sigma" : "/covariance", 2 * torch::eye(2, torch::kFloat64));
    file.close();
    c.evaluate("--metrics fid --features pixels --samples " + c.file("samples.h5") +
               " --reference " + c.file("moments.h5"));
    // Root of 2 C: eigenvalues of C are 0 and 5 n / (n - 1).
    const double variance = 5 * 20.0 / 19;
    const double expected = (9 + 1) + 4 + variance - 2 * std::sqrt(2 * variance);
    EXPECT_NEAR(fd_of(c), expected, 1e-9 * expected);
  }
  EXPECT_EQ(c.metric("fd")["samples"], 20);
  EXPECT_EQ(c.metric("fd")["samples_from"], c.file("samples.h5"));
  EXPECT_EQ(c.metric("fd")["reference"], c.file("moments.h5"));
}

TEST(Evaluate, SamplesAreDrawnWithEveryOptionOfSample) {
  const Case c("edm", torch::linspace(-1, 1, 40, torch::kFloat64).unsqueeze(1), {{0.2, 0.3}});
  const std::string options =
      " --sampler heun --spacing edm --rho 3 --S_churn 8 --S_min 0.05 --S_max 50 --S_noise 1.003 "
      "--seeds 3-32 --final denoised ";
  const Outcome drawn = run("SCORENET sample --config " + c.file("model.toml") + options +
                            "--steps 6 --save-h5 --outdir " + c.file("drawn"));
  ASSERT_EQ(drawn.exit_code, 0) << drawn.err;
  c.evaluate("--metrics fd,w2 --features pixels --samples " + c.file("drawn/samples.h5"));
  const double fd = fd_of(c), w2 = c.metric("w2")["w2"].get<double>();
  for (const char* program : {"SCORENET", "mpirun -n 2 --oversubscribe SCORENET"}) {
    c.evaluate("--metrics fd,w2 --features pixels --sampler-steps 6" + options, program);
    EXPECT_NEAR(fd_of(c), fd, 1e-9 * fd) << program;
    EXPECT_NEAR(c.metric("w2")["w2"].get<double>(), w2, 1e-9 * w2) << program;
  }
  c.evaluate("--metrics fd --features pixels --sampler-steps 6 --sampler heun --seeds 3-32");
  EXPECT_GT(std::abs(fd_of(c) / fd - 1), 1e-4);  // the options do something
  const Outcome nobody = run("SCORENET " + c.command("--class 3 --metrics elbo"));
  EXPECT_EQ(nobody.exit_code, 2);
  EXPECT_THAT(nobody.err, HasSubstr("--class: only fd, kid, pr and w2 compare samples"));
}

TEST(Evaluate, ASavedReferenceStandsForTheDataItIsOf) {
  const Case c("vp_linear", torch::linspace(-1, 1, 40, torch::kFloat64).view({20, 2}),
               {{0.0, 0.3}, {0.0, 0.3}});
  const std::string options = "--metrics fd --features pixels --sampler-steps 4";
  c.evaluate(options);
  const double fd = fd_of(c);
  const Outcome saved = run("SCORENET evaluate --data " + c.file("points.h5") +
                            " --features pixels " + "--save-reference " + c.file("reference.h5"));
  ASSERT_EQ(saved.exit_code, 0) << saved.err;
  EXPECT_THAT(saved.out, HasSubstr("moments of 20 examples"));
  c.evaluate(options + " --reference " + c.file("reference.h5"));
  EXPECT_NEAR(fd_of(c), fd, 1e-9 * fd);
  EXPECT_EQ(c.metric("fd")["n"], 20);
  const Outcome alias = run("SCORENET " + c.command("--metrics fid,fd --features pixels"));
  EXPECT_THAT(alias.err, HasSubstr("only in those of Inception with its published weights"));
  EXPECT_NEAR(fd_of(c), fd, 1);
}

TEST(Evaluate, ReferencesAndSamplesThatDoNotFitAreOneSentence) {
  const Case c("vp_linear", torch::ones({8, 2}, torch::kFloat64), {{0.0, 0.3}, {0.0, 0.3}});
  write_samples(c.file("samples.h5"), 4);
  const auto reference = [&](const std::string& name, const torch::Tensor& mean,
                             const torch::Tensor& covariance, const std::string& extractor = "") {
    auto file = data::Hdf5File::create(c.file(name));
    file.write_array("/mean", mean);
    file.write_array("/covariance", covariance);
    file.set_attribute("/", "extractor", extractor);
    file.close();
  };
  const auto eye = torch::eye(2, torch::kFloat64);
  const auto zeros = torch::zeros({2}, torch::kFloat64);
  reference("flat.h5", zeros, torch::ones({2}, torch::kFloat64));
  reference("other.h5", torch::zeros({3}, torch::kFloat64), torch::eye(3, torch::kFloat64));
  reference("skewed.h5", zeros, torch::tensor({1.0, 2.0, 0.0, 1.0}, torch::kFloat64).view({2, 2}));
  reference("nan.h5", zeros, eye * NAN);
  reference("inception.h5", zeros, eye, "inception.pt");
  write_points(c.file("points_alone.h5"), torch::ones({8, 2}, torch::kFloat64));
  auto wide = data::Hdf5File::create(c.file("wide.h5"));
  wide.write_array("/samples", torch::ones({4, 3}, torch::kFloat64));
  wide.close();
  auto holes = data::Hdf5File::create(c.file("holes.h5"));
  holes.write_array("/samples", torch::full({4, 2}, NAN, torch::kFloat64));
  holes.close();
  const std::string fd = "--metrics fd --features pixels --samples " + c.file("samples.h5") + " ";
  const std::string by = fd + "--reference " + c.file("");
  struct Wrong {
    std::string options;
    int code;
    std::string part;
  };
  for (const Wrong& wrong : std::vector<Wrong>{
           {by + "a.npz", 2, "is a NumPy archive"},
           {by + "a.pkl", 2, "is a Python pickle"},
           {by + "none.h5", 3, "no such file"},
           {by + "samples.h5", 3, "has no data set /mean"},
           {by + "flat.h5", 3, "expected (D) and (D, D)"},
           {by + "skewed.h5", 3, "not symmetric"},
           {by + "nan.h5", 3, "not finite"},
           {by + "other.h5", 2, "must have the same number"},
           {by + "inception.h5", 2, "features of inception.pt, but --features is pixels"},
           {"--metrics kid --features pixels --reference " + c.file("flat.h5"), 2, "in fd alone"},
           {"--metrics fd --features pixels --samples " + c.file("points_alone.h5"), 3,
            "no data set /samples"},
           {"--metrics fd --features pixels --samples " + c.file("wide.h5"), 3, "(4, 3)"},
           {"--metrics fd --features pixels --samples " + c.file("holes.h5"), 4, "not finite"},
           {"--metrics fd --features pixels --samples " + c.file(""), 2, "pictures hold 256"},
           {"--metrics elbo --save-reference " + c.file("r.h5"), 2, "no features to take"}}) {
    const Outcome outcome = run("SCORENET " + c.command(wrong.options));
    EXPECT_EQ(outcome.exit_code, wrong.code) << wrong.options << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(wrong.part)) << wrong.options;
  }
  const Outcome without = run("SCORENET evaluate --data " + c.file("points.h5") + " --samples " +
                              c.file("samples.h5") + " --metrics elbo,fd --features pixels");
  EXPECT_EQ(without.exit_code, 2);
  EXPECT_THAT(without.err, HasSubstr("elbo: is of a model, and none is given"));
}

TEST(Evaluate, FeatureMetricsSayWhichFeaturesTheyNeed) {
  const Case c("vp_linear", torch::zeros({8, 1}, torch::kFloat64), {{0.0, 0.3}});
  const auto refused = [&c](const std::string& options) {
    return run("SCORENET " + c.command("--metrics fd " + options));
  };
  const Outcome none = refused(""), unknown = refused("--features inception"),
                missing = refused("--features no.pt");
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.err, AllOf(HasSubstr("--metrics fd"), HasSubstr("--features")));
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("--features inception"), HasSubstr("pixels")));
  EXPECT_EQ(missing.exit_code, 6);
  EXPECT_THAT(missing.err, AllOf(HasSubstr("no.pt"), HasSubstr("no such file")));
}

// Euler-Maruyama on an affine score is an affine recursion: from N(0, P), with k = score_scale, at
// each t -> t - dt
//     mean <- (1 - dt (f + c)) mean + dt c alpha m,   c = (1 + h)/2 g^2 k / v,
//     var  <- (1 - dt (f + c))^2 var + h g^2 dt.
TEST(Sample, EulerMaruyamaHasTheMomentsOfItsRecursion) {
  const auto laws = first_laws(2);
  const double scale = 1.1;
  const int64_t n = 4000, steps = 30;
  for (const std::string& name : {std::string("vp_linear"), std::string("vdm_linear")}) {
    const auto schedule = schedule_named(name);
    const Case c(name, points_of(laws, 1), laws, "score_scale = 1.1");
    const auto t =
        torch::linspace(schedule->t_max(), schedule->t_min(), steps + 1, torch::kFloat64);
    const auto f = schedule->d_log_alpha(t), g2 = schedule->g_squared(t);
    const auto level = schedule->at(t);
    for (const double hbar : {0.0, 0.5, 1.0}) {
      const Outcome sampled = run(
          "OMP_NUM_THREADS=1 SCORENET sample --config " + c.file("model.toml") + " --seeds 0-" +
          std::to_string(n - 1) + " --sampler euler-maruyama --steps " + std::to_string(steps) +
          " --hbar " + std::to_string(hbar) + " --batch 4000 --save-h5 --outdir " + c.file("s"));
      ASSERT_EQ(sampled.exit_code, 0) << sampled.err;
      const auto samples = read_array(c.file("s/samples.h5"), "/samples");
      for (size_t d = 0; d < laws.size(); ++d) {
        double mean = 0, variance = schedule->prior_variance();
        for (int64_t i = 0; i < steps; ++i) {
          const auto number = [i](const torch::Tensor& values) { return values[i].item<double>(); };
          const double dt = number(t) - t[i + 1].item<double>();
          const double alpha = number(level.alpha), sigma = number(level.sigma);
          const double v = alpha * alpha * laws[d].variance + sigma * sigma;
          const double pull = (1 + hbar) / 2 * number(g2) * scale / v;
          const double factor = 1 - dt * (number(f) + pull);
          mean = factor * mean + dt * pull * alpha * laws[d].mean;
          variance = factor * factor * variance + hbar * number(g2) * dt;
        }
        const auto x = samples.select(1, static_cast<int64_t>(d));
        // Standard errors of mean and variance of n normal draws.
        EXPECT_NEAR(x.mean().item<double>(), mean, 4.5 * std::sqrt(variance / n)) << name << hbar;
        EXPECT_NEAR(x.var().item<double>(), variance, 4.5 * variance * std::sqrt(2.0 / n))
            << name << hbar;
      }
    }
  }
}

}  // namespace
}  // namespace scorenet::test
