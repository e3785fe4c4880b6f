// McAllester's formula closes to the exact -log p(x) at every point; the truncated I-MMSE form
// misses it by a known amount.
#include "framework/diffusion/likelihood/mcallester.hpp"

#include <cmath>
#include <numbers>

#include "framework/diffusion/likelihood/elbo.hpp"
#include "framework/diffusion/likelihood/immse.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using namespace test;

// The density of x0 itself: alpha = 1, sigma = 0.
torch::Tensor true_nats(const GaussianMixture& mixture, const torch::Tensor& x) {
  const auto ones = torch::ones({x.size(0)}, torch::kFloat64);
  return -mixture.log_density(x, {ones, torch::zeros_like(ones), ones});
}

TEST(McAllester, ClosesToTheExactValueAtEveryPointOfAMixtureUnderEverySchedule) {
  const auto mixture = mixture_1d({0.3, 0.7}, {-1.0, 0.8}, {0.04, 0.09});
  const auto x = doubles({-1.3, -0.2, 0.1, 0.8}).unsqueeze(1);
  for (const auto& name : schedule_names()) {
    if (name == "vdm_learned") continue;  // not built from options alone
    const auto result = mcallester_exact(*mixture, *schedule_named(name), x);
    expect_close(result.nats, true_nats(*mixture, x), 1e-6, name);
    EXPECT_EQ(result.kind, ResultKind::exact);
    expect_close(result.term("prior") + result.term("diffusion") + result.term("reconstruction"),
                 result.nats, 1e-14);
  }
}

TEST(McAllester, ClosesForGaussiansThatAreNotIsotropicInTwoAndSixteenDimensions) {
  const auto schedule = schedule_named("vp_linear");
  for (const int64_t dims : {2, 16}) {
    const auto range = torch::arange(1, dims + 1, torch::kFloat64) / static_cast<double>(dims);
    const GaussianMixture law(doubles({1}), range.unsqueeze(0),
                              torch::diag(range * range).unsqueeze(0));
    const auto x = torch::stack({torch::zeros({dims}, torch::kFloat64), 1.5 * range});
    expect_close(mcallester_exact(law, *schedule, x).nats, true_nats(law, x), 1e-6);
  }
}

// Right to kExactError at every point, or refused; returns how many were refused.
int right_or_refused(const GaussianMixture& mixture, const Schedule& schedule,
                     const torch::Tensor& points, const std::string& what) {
  int refused = 0;
  for (const auto& x : points.split(1)) {
    try {
      expect_close(mcallester_exact(mixture, schedule, x).nats, true_nats(mixture, x), 1e-6, what);
    } catch (const ConfigError& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr("Leave out --exact"));
      ++refused;
    }
  }
  return refused;
}

TEST(McAllester, FarFromSharpModesTheIntegrandJumpsInLogSnrAndTheValueIsRight) {
  // Halves N(-1, 0.01) and N(1, 0.0004), x = 2: the first has log density -3^2 / 0.02 = -450, the
  // second -1 / 0.0008 = -1250. So -log p = 450 + 1/2 log(2 pi 0.01) + log 2 = 449.31 up to e^-800.
  // As the noise falls the second mode explains x until 9 / (0.01 + tau) < 1 / (0.0004 + tau), tau
  // = 1 / snr = 0.0008: there |eps - eps_hat|^2 jumps by hundreds within 0.1 of log-SNR.
  const auto mixture = mixture_1d({0.5, 0.5}, {-1, 1}, {0.01, 0.0004});
  const auto x = doubles({2, -3, 1.04, 0.2, 30}).unsqueeze(1);
  const double expected = 450 + 0.5 * std::log(2 * std::numbers::pi * 0.01) + std::log(2.0);
  EXPECT_NEAR(true_nats(*mixture, x)[0].item<double>(), expected, 1e-9);
  for (const char* name : {"vdm_linear", "edm", "flow", "subvp", "vp_cosine", "ve"})
    EXPECT_EQ(right_or_refused(*mixture, *schedule_named(name), x, name), 0) << name;
}

TEST(McAllester, OfTinyCovariancesItIsRightOrRefused) {
  const auto spikes = mixture_1d({0.2, 0.3, 0.5}, {-1, 0, 0.9}, {1e-8, 1e-6, 1e-4});
  const auto x = doubles({-1, 1e-3, 0.9, 0.45, 1.3}).unsqueeze(1);
  EXPECT_LE(right_or_refused(*spikes, *schedule_named("vdm_linear"), x, "spikes"), 2);
  const GaussianMixture plane(doubles({0.5, 0.5}), doubles({-1, 0, 1, 0.3}).view({2, 2}),
                              doubles({1e-3, 0, 0, 1e-2, 4e-3, 1e-3, 1e-3, 2e-3}).view({2, 2, 2}));
  const auto y = doubles({-1, 0.1, 0.9, 0.3, 2, 2}).view({3, 2});
  EXPECT_LE(right_or_refused(plane, *schedule_named("edm"), y, "plane"), 1);
}

TEST(McAllester, ValuesThatAreNotTheMixturesAreRefused) {
  const auto mixture = mixture_1d({0.3, 0.7}, {-1.0, 0.8}, {0.04, 0.09});
  const auto x = doubles({-1.3, 0.8}).unsqueeze(1);
  const auto nats = true_nats(*mixture, x);
  const auto off_by = [&](double relative) { return nats + relative * (1 + nats.abs()); };
  EXPECT_NO_THROW(require_density(off_by(0.9e-6), *mixture, x));
  auto second = nats.clone();
  second[1] = off_by(-2e-6)[1];
  EXPECT_ERROR(require_density(second, *mixture, x), ConfigError,
               "differs from the mixture's -log p", "x = (0.8)");
}

// D > 2: half of N(0, 0.2 I) and half of N((5, 0, 0), 0.2 I).
GaussianMixture two_balls() {
  return {doubles({0.5, 0.5}), doubles({0, 0, 0, 5, 0, 0}).view({2, 3}),
          0.2 * torch::eye(3, torch::kFloat64).expand({2, 3, 3})};
}

TEST(McAllester, AboveTwoDimensionsAMixtureThatBendsAtTheNoisyEndAloneIsRefused) {
  // At log_snr 0, the noisiest level, the modes are 5 / sqrt(2.4) = 3.2 posterior deviations apart:
  // x = 0 sees the other one at one part in 200. The cubature gives 1.0306 for -log p = 3/2 log(2
  // pi 0.2) + log 2 = 1.0358.
  const auto schedule = make_schedule({.name = "vdm_linear", .gamma_max = 0});
  const auto x = torch::zeros({1, 3}, torch::kFloat64);
  expect_error<ConfigError>([&] { mcallester_exact(two_balls(), *schedule, x); },
                            "in 3 dimensions needs an affine denoiser");
  expect_error<ConfigError>([&] { mcallester_exact(two_balls(), *schedule, x); }, "x = (0, 0, 0)");
}

TEST(McAllester, AboveTwoDimensionsAMixtureThatIsAffineToRoundingIsRight) {
  // Up to log_snr 8 the noise is below e^-4 = 0.018 and the modes 11 deviations apart: beside x = 0
  // the other one weighs e^-62.
  const auto schedule = make_schedule({.name = "vdm_linear", .gamma_max = -8});
  const auto x = doubles({0, 0, 0, 0.3, -0.5, 0.2}).view({2, 3});
  expect_close(mcallester_exact(two_balls(), *schedule, x).nats, true_nats(two_balls(), x), 1e-6);
  // Two modes at one place are one Gaussian.
  const auto matrix =
      torch::tensor({{0.5, 0.2, 0.0}, {0.2, 0.4, 0.1}, {0.0, 0.1, 0.3}}, torch::kFloat64);
  const GaussianMixture twice(doubles({0.4, 0.6}), torch::ones({2, 3}, torch::kFloat64),
                              matrix.expand({2, 3, 3}));
  expect_close(mcallester_exact(twice, *schedule_named("edm"), x).nats, true_nats(twice, x), 1e-6);
}

TEST(McAllester, OneGaussianPassesInAHundredDimensions) {
  const auto spread = torch::linspace(0.05, 2, 100, torch::kFloat64);
  const GaussianMixture law(doubles({1}), torch::linspace(-3, 3, 100, torch::kFloat64).unsqueeze(0),
                            torch::diag(spread.square()).unsqueeze(0));
  const auto x = 3 * spread.unsqueeze(0);
  expect_close(mcallester_exact(law, *schedule_named("vdm_linear"), x).nats, true_nats(law, x),
               1e-6);
}

TEST(McAllester, TheDrawnSumIsUnbiased) {
  const auto mixture = mixture_1d({0.3, 0.7}, {-1.0, 0.8}, {0.04, 0.09});
  const auto x = torch::full({2000, 1}, 0.1, torch::kFloat64);
  const auto result = mcallester(*mixture, *schedule_named("vdm_linear"), x, slot_range(0, 2000),
                                 {.seed = 3, .time_samples = 8});
  const double standard_error = result.nats.std().item<double>() / std::sqrt(2000.0);
  EXPECT_NEAR(result.nats.mean().item<double>(), true_nats(*mixture, x)[0].item<double>(),
              4 * standard_error);
  EXPECT_LT(standard_error, 0.1);
}

TEST(McAllester, WithoutKnownEndsItIsTheBoundsSumCalledAnEstimate) {
  ScoreErrors errors;
  errors.score_scale = 1.3;
  const auto denoiser = make_mixture_denoiser(gaussian({0.2}, {0.5}), errors);
  const auto schedule = schedule_named("flow");
  const auto x = doubles({0.4, -1}).unsqueeze(1);
  const auto exact = mcallester_exact(denoiser, *schedule, Decoder::flat, x);
  EXPECT_EQ(exact.kind, ResultKind::estimate);
  EXPECT_TRUE(torch::equal(exact.nats, elbo_exact(denoiser, *schedule, Decoder::flat, x).nats));
  const auto drawn = mcallester(denoiser, *schedule, Decoder::flat, x, {0, 1}, {});
  EXPECT_EQ(drawn.kind, ResultKind::estimate);
  EXPECT_TRUE(
      torch::equal(drawn.nats, elbo(denoiser, *schedule, Decoder::flat, x, {0, 1}, {}).nats));
}

TEST(GaussianMixturePosterior, IsBayesRule) {
  // log p(x0 | z) = log p(x0) + log q(z | x0) - log q(z).
  const auto mixture = mixture_1d({0.3, 0.7}, {-1.0, 0.8}, {0.04, 0.09});
  const NoiseLevel level = schedule_named("vp_linear")->at(0.3, 3);
  const auto x0 = doubles({-1, 0.2, 0.9}).unsqueeze(1), z = doubles({-0.4, 0.3, 0.1}).unsqueeze(1);
  const auto eps = (z.squeeze(1) - level.alpha * x0.squeeze(1)) / level.sigma;
  const auto log_conditional =
      -0.5 * eps.square() - level.sigma.log() - 0.5 * std::log(2 * std::numbers::pi);
  expect_close(mixture->log_posterior(x0, z, level),
               -true_nats(*mixture, x0) + log_conditional - mixture->log_density(z, level), 1e-12);
}

TEST(Immse, MissesTheExactValueOfAGaussianByItsTruncation) {
  // x0 ~ N(mu, s^2), d = x - mu, u = 1 + snr s^2: mse_x = (d^2 + s^4 snr) / u^2, so
  //     1/2 int mse_x d snr = d^2 / (2 s^2) [1/u_1 - 1/u_0] + 1/2 [log(u_0 / u_1) + 1/u_0 - 1/u_1].
  const double mu = 0.3, s2 = 0.25;
  const auto x = doubles({0.3, 1.0}).unsqueeze(1);
  for (const std::string name : {"vp_linear", "edm", "vdm_linear"}) {
    const auto schedule = schedule_named(name);
    const LogSnrRange range = log_snr_range(*schedule);
    const double snr_0 = std::exp(range.clean), snr_1 = std::exp(range.noisy);
    const double u_0 = 1 + snr_0 * s2, u_1 = 1 + snr_1 * s2;
    const auto d2 = (x.squeeze(1) - mu).square();
    const auto integral =
        d2 / (2 * s2) * (1 / u_1 - 1 / u_0) + 0.5 * (std::log(u_0 / u_1) + 1 / u_0 - 1 / u_1);
    const auto expected = 0.5 * std::log(2 * std::numbers::pi * std::numbers::e) -
                          0.5 * std::log((1 + snr_0) / (1 + snr_1)) + integral;
    const auto law = gaussian({mu}, {s2});
    const auto result = immse_exact(make_mixture_denoiser(law), *schedule, x);
    expect_close(result.nats, expected, 1e-6, name);
    EXPECT_EQ(result.kind, ResultKind::estimate);
    // Nearly the true value: what is cut off is of order snr_1 and 1 / snr_0.
    expect_close(result.nats, true_nats(*law, x), 2 * (snr_1 + 1 / snr_0) / s2, name);
  }
}

TEST(Immse, TheDrawnFormIsUnbiased) {
  const auto denoiser = make_mixture_denoiser(mixture_1d({0.3, 0.7}, {-1.0, 0.8}, {0.04, 0.09}));
  const auto schedule = schedule_named("vp_linear");
  const auto x = torch::full({2000, 1}, 0.5, torch::kFloat64);
  const auto drawn =
      immse(denoiser, *schedule, x, slot_range(0, 2000), {.seed = 1, .time_samples = 8});
  const auto exact = immse_exact(denoiser, *schedule, x.slice(0, 0, 1));
  const double standard_error = drawn.nats.std().item<double>() / std::sqrt(2000.0);
  EXPECT_NEAR(drawn.nats.mean().item<double>(), exact.nats.item<double>(), 4 * standard_error);
  EXPECT_NEAR(drawn.term("reference")[0].item<double>(), exact.term("reference").item<double>(),
              1e-14);
}

}  // namespace
}  // namespace scorenet::diffusion
