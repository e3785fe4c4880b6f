// The end terms: prior, three decoders; units and dequantisation, where a missing constant shows.
#include "framework/diffusion/variational_bound.hpp"

#include <numbers>

#include "framework/diffusion/likelihood/dequantise.hpp"
#include "framework/diffusion/likelihood/elbo.hpp"
#include "framework/diffusion/likelihood/units.hpp"
#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using test::doubles;
using test::expect_close;
using test::expect_error;
using test::gaussian;
using test::schedule_named;

double level_value(int64_t k) { return 2 * (double(k) + 0.5) / 256 - 1; }

// -log softmax over all 256 levels of -1/2 snr (z - x_k)^2, by the book.
double plain_decoder_nats(int64_t k, double eps, double log_snr) {
  const double snr = std::exp(log_snr), z = level_value(k) + eps / std::sqrt(snr);
  double sum = 0;
  for (int64_t j = 0; j < 256; ++j) sum += std::exp(-0.5 * snr * std::pow(z - level_value(j), 2));
  return 0.5 * snr * std::pow(z - level_value(k), 2) + std::log(sum);
}

TEST(VariationalBound, TheDiscreteDecoderIsTheSoftmaxOverAllLevels) {
  for (const double log_snr : {13.3, 9.0, 4.0, 0.0}) {
    for (const int64_t k : {0, 1, 100, 254, 255}) {
      for (const double eps : {-3.0, -0.2, 0.0, 1.7, 4.1}) {
        const auto nats = discrete_reconstruction_nats(doubles({level_value(k)}).unsqueeze(1),
                                                       doubles({eps}).unsqueeze(1),
                                                       torch::tensor(log_snr, torch::kFloat64));
        EXPECT_NEAR(nats.item<double>(), plain_decoder_nats(k, eps, log_snr), 1e-9)
            << log_snr << " " << k << " " << eps;
      }
    }
  }
}

TEST(VariationalBound, ADecoderOfAnyLevelsIsTheSoftmaxOverAllOfThem) {
  // By a sum of its own: weights exp(-(z - x_j)^2 snr / 2), z = x_k + eps / sqrt(snr).
  for (const int64_t levels : {2, 65536}) {
    const auto x = data_from_pixels(torch::arange(levels), torch::kFloat64, levels);
    EXPECT_TRUE(torch::equal(
        levels_from_data(data_from_pixels(torch::arange(levels), torch::kFloat32, levels), levels),
        torch::arange(levels)));
    for (const double log_snr : {13.3, 2.0}) {
      const double root = std::exp(0.5 * log_snr);
      for (const int64_t k : {int64_t{0}, levels / 2, levels - 1}) {
        for (const double eps : {-2.1, 0.3, 3.7}) {
          const auto z = x[k] + eps / root;
          const auto logits = -0.5 * ((z - x) * root).square();
          const double expected = (torch::logsumexp(logits, 0) - logits[k]).item<double>();
          const auto nats =
              discrete_reconstruction_nats(x[k].view({1, 1}), doubles({eps}).view({1, 1}),
                                           torch::tensor(log_snr, torch::kFloat64), levels);
          EXPECT_NEAR(nats.item<double>(), expected, 1e-8) << levels << " " << log_snr << " " << k;
        }
      }
    }
  }
}

TEST(VariationalBound, TheExactReconstructionOfManyLevelsIsThatOfThoseThatOccur) {
  ScheduleOptions options;
  options.name = "vdm_linear";
  options.gamma_min = -14;
  const auto schedule = make_schedule(options);
  const auto level = [](int64_t k, int64_t levels) {
    return data_from_pixels(torch::tensor({{k}}), torch::kFloat64, levels);
  };
  const auto nats = [&](const torch::Tensor& x0, int64_t levels) {
    return exact_reconstruction_nats({}, *schedule, {Decoder::discrete, levels}, x0);
  };
  // Far from the ends only the bin's width matters: a 256th of the levels at 256 times the noise.
  const auto two = torch::cat({level(30000, 65536), level(30007, 65536)}, 1);
  EXPECT_NEAR(nats(two, 65536).item<double>(), 2 * nats(level(30000, 65536), 65536).item<double>(),
              1e-9);
  EXPECT_GT(nats(level(30000, 65536), 65536).item<double>(),
            nats(level(30000 / 256, 256), 256).item<double>() + 2);
}

TEST(VariationalBound, TheDiscreteDecoderSumsOverPixelsInFloat32Too) {
  const auto k = torch::tensor({0, 17, 128, 255}, torch::kUInt8).view({1, 1, 2, 2});
  const auto eps = doubles({0.5, -2.9, 3.4, 0.1}).view({1, 1, 2, 2});
  const auto nats =
      discrete_reconstruction_nats(data_from_pixels(k, torch::kFloat32), eps.to(torch::kFloat32),
                                   torch::tensor(13.3, torch::kFloat64));
  double expected = 0;
  for (int64_t i = 0; i < 4; ++i) {
    expected +=
        plain_decoder_nats(k.flatten()[i].item<int64_t>(), eps.flatten()[i].item<double>(), 13.3);
  }
  EXPECT_NEAR(nats.item<double>() / expected, 1, 1e-5);
}

TEST(VariationalBound, ExactDiscreteReconstructionIsTheMeanOverTheNoise) {
  // By a sum of its own over eps.
  ScheduleOptions options;
  options.name = "vdm_linear";
  options.gamma_min = -9;
  const auto schedule = make_schedule(options);
  const auto x0 = doubles({level_value(0), level_value(77)}).view({1, 2});
  double expected = 0;
  for (int i = -900; i <= 900; ++i) {
    const double e = 0.01 * i,
                 weight = 0.01 * std::exp(-0.5 * e * e) / std::sqrt(2 * std::numbers::pi);
    expected += weight * (plain_decoder_nats(0, e, 9) + plain_decoder_nats(77, e, 9));
  }
  EXPECT_NEAR(exact_reconstruction_nats({}, *schedule, Decoder::discrete, x0).item<double>(),
              expected, 1e-8);
}

TEST(VariationalBound, ThePriorTermVanishesForItsOwnLawAndGrowsWithTheData) {
  // ve: alpha = 1, sigma = sigma_max: KL = |x0|^2 / (2 sigma_max^2).
  const auto x0 = doubles({3, 4}).view({1, 2});
  EXPECT_NEAR(prior_nats(*schedule_named("ve"), x0).item<double>(), 25.0 / (2 * 6400), 1e-12);
  // vp_linear: alpha^2 = e^-10.05, sigma^2 = 1 - alpha^2.
  const double a2 = std::exp(-10.05);
  EXPECT_NEAR(prior_nats(*schedule_named("vp_linear"), x0).item<double>(),
              0.5 * (25 * a2 + 2 * (-a2 - std::log1p(-a2))), 1e-12);
}

TEST(VariationalBound, TheContinuousDecodersDifferByTheirErrors) {
  const auto schedule = schedule_named("vdm_linear");
  const auto denoiser = make_mixture_denoiser(gaussian({0, 0}, {1, 1}));
  const auto x0 = doubles({0.5, -1}).view({1, 2}), eps = doubles({0.3, 0.8}).view({1, 2});
  // x0_hat = alpha x_0 for unit data, |x0 - x0_hat|^2 snr / 2 + log(2 pi / snr).
  const NoiseLevel level = schedule->at(0.0, 1);
  const double a = level.alpha.item<double>(), s = level.sigma.item<double>(), snr = std::exp(13.3);
  const double e1 = 0.5 - a * (a * 0.5 + s * 0.3), e2 = -1 - a * (-a + s * 0.8);
  EXPECT_NEAR(tweedie_reconstruction_nats(denoiser, *schedule, x0, eps).item<double>(),
              std::log(2 * std::numbers::pi / snr) + snr / 2 * (e1 * e1 + e2 * e2), 1e-9);
  EXPECT_NEAR(reconstruction_nats(Decoder::flat, denoiser, *schedule, x0, eps).item<double>(),
              std::log(2 * std::numbers::pi * std::numbers::e) - 13.3, 1e-12);
}

TEST(VariationalBound, TheTrainingEstimateIsTheThreeTermsOfItsParts) {
  const auto schedule = schedule_named("vdm_linear");
  const Network silent = [](const torch::Tensor& x, const torch::Tensor&) {
    return torch::zeros_like(x);
  };
  const Parametrisation p{Prediction::eps, 0.5};
  const auto x0 = data_from_pixels(torch::tensor({{3, 200}}, torch::kUInt8), torch::kFloat64);
  const auto eps = doubles({0.3, -0.5}).view({1, 2}), eps_0 = doubles({1.1, 0.2}).view({1, 2});
  const auto times = uniform_times(*schedule, doubles({0.4}));
  const auto terms =
      bound_per_example(silent, p, *schedule, Decoder::discrete, x0, times, eps, eps_0);
  // eps_hat = 0: the diffusion estimate is 18.3 / 2 |eps|^2.
  EXPECT_NEAR(terms.diffusion_nats.item<double>(), 9.15 * 0.34, 1e-12);
  EXPECT_NEAR(terms.reconstruction_nats.item<double>(),
              plain_decoder_nats(3, 1.1, 13.3) + plain_decoder_nats(200, 0.2, 13.3), 1e-9);
  EXPECT_NEAR(terms.total().item<double>(),
              prior_nats(*schedule, x0).item<double>() + terms.diffusion_nats.item<double>() +
                  terms.reconstruction_nats.item<double>(),
              1e-12);
}

TEST(Units, UniformPixelsCostEightBitsHoweverTheyAreScored) {
  // Density 1/2 on [-1, 1]: -log p = log 2 nats a dimension, and log2(128) = 7 bits for the bins
  // of width 2/256.
  const double nats = 10 * std::log(2.0) + uniform_dequantisation_offset_nats(10);
  EXPECT_NEAR(bits_per_dim(nats, 10), 8, 1e-12);
  EXPECT_NEAR(uniform_dequantisation_offset_nats(1) / std::numbers::ln2, 7, 1e-12);
  EXPECT_NEAR(uniform_dequantisation_offset_nats(1, 1.0 / 256) / std::numbers::ln2, 8, 1e-12);
  EXPECT_NEAR(uniform_dequantisation_offset_nats(1, 1 / 127.5) / std::numbers::ln2, 6.9943535,
              1e-7);
}

TEST(Units, OtherLevelsHaveOtherBins) {
  const auto x0 = data_from_pixels(torch::tensor({{0, 1}}), torch::kFloat64, 2);
  EXPECT_TRUE(torch::equal(x0, doubles({-0.5, 0.5}).view({1, 2})));
  EXPECT_NO_THROW(check_on_pixel_levels(x0, 2));
  expect_error<DataError>([&] { check_on_pixel_levels(x0 / 2, 2); }, "2 levels");
  const auto drawn = dequantise_uniform(x0, {3}, 1, 0, 2);
  EXPECT_EQ(drawn.log_q.item<double>(), 0);  // bins of width 1
  EXPECT_TRUE(((drawn.y - x0).abs() <= 0.5).all().item<bool>());
  EXPECT_GT((drawn.y - x0).abs().max().item<double>(), 0.05);
}

TEST(Units, PixelsGoToTheirLevelsAndBack) {
  const auto k = torch::arange(256).to(torch::kUInt8);
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    const auto x = data_from_pixels(k, dtype);
    EXPECT_NO_THROW(check_on_pixel_levels(x));
    EXPECT_TRUE(torch::equal(pixels_from_data(x), k));
    EXPECT_NEAR(x[0].item<double>(), -1 + 1.0 / 256, 1e-7);
  }
  EXPECT_EQ(pixels_from_data(doubles({1.3})).item<int64_t>(), 255);
}

// P(k) = probability of the bin under p, in closed form for p = N(m, v) at t_min.
double bin_probability(double m, double v, double low, double high) {
  return 0.5 * (std::erf((high - m) / std::sqrt(2 * v)) - std::erf((low - m) / std::sqrt(2 * v)));
}

TEST(Dequantise, WeightedByItsDensityEitherNoiseGivesTheProbabilityOfTheBin) {
  // E_q[p(y) / q(y)] = integral of p over q's support: the whole bin. A missing entropy or bin
  // width would show here.
  const int64_t n = 20'000, k = 130;
  const auto slots = slot_range(0, n);
  const auto x0 = torch::full({n, 1}, level_value(k), torch::kFloat64);
  const auto law = gaussian({0.0}, {1e-4});  // varies over the bin
  const NoiseLevel clean{torch::ones({n}, torch::kFloat64), torch::zeros({n}, torch::kFloat64), {}};
  ScheduleOptions options;
  options.name = "vdm_linear";
  options.gamma_min = -12;
  const auto schedule = make_schedule(options);
  const NoiseLevel start = schedule->at(0.0, 1);
  const double alpha = start.alpha.item<double>();
  const auto check = [&](const Dequantised& d, double low, double high, const std::string& what) {
    const auto ratio = (law->log_density(d.y, clean) - d.log_q).exp();
    const double error = ratio.std().item<double>() / std::sqrt(double(n));
    EXPECT_NEAR(ratio.mean().item<double>(), bin_probability(0, 1e-4, low, high), 4 * error)
        << what;
    EXPECT_GE(d.y.min().item<double>(), low - 1e-12) << what;
    EXPECT_LE(d.y.max().item<double>(), high + 1e-12) << what;
  };
  const double low = level_value(k) - 1.0 / 256, high = level_value(k) + 1.0 / 256;
  check(dequantise_uniform(x0, slots, 3), low, high, "uniform");
  const auto truncated = dequantise_truncated_normal(x0, *schedule, slots, 3);
  check(truncated, alpha * low, alpha * high, "truncated normal");
  // And its stated entropy is the mean of -log q.
  const double error = truncated.log_q.std().item<double>() / std::sqrt(double(n));
  EXPECT_NEAR(-truncated.log_q.mean().item<double>(), truncated_normal_entropy_nats(*schedule, 1),
              4 * error);
  EXPECT_NEAR(truncated_normal_entropy_nats(*schedule, 5),
              5 * truncated_normal_entropy_nats(*schedule, 1), 1e-12);
}

// E_q[p(y) p(k | y) / N(y; alpha x_k, sigma^2)] = int p(y) p(k | y) dy, by a fine sum over y here:
// the 256-way decoder written out as the softmax of -(y / alpha - x_j)^2 alpha^2 / (2 sigma^2).
TEST(Dequantise, VariationalWeighsTheDensityByTheDecoder) {
  const int64_t n = 20'000, k = 130;
  ScheduleOptions options;
  options.name = "vdm_linear";
  options.gamma_min = -9;  // noise of 1.4 bins: neighbouring levels compete
  const auto schedule = make_schedule(options);
  const NoiseLevel start = schedule->at(0.0, 1);
  const double alpha = start.alpha.item<double>(), sigma = start.sigma.item<double>();
  const auto law = gaussian({0.0}, {1e-4});
  const auto density = [&](const torch::Tensor& y) {
    const auto ones = torch::ones({y.size(0)}, torch::kFloat64);
    return law->log_density(y, {ones, torch::zeros_like(ones), {}}).exp();
  };
  const auto y = torch::linspace(-0.3, 0.3, 60'001, torch::kFloat64).unsqueeze(1);
  const auto levels = 2 * (torch::arange(256, torch::kFloat64) + 0.5) / 256 - 1;
  const auto logits = -(y / alpha - levels).square() * (alpha * alpha / (2 * sigma * sigma));
  const double expected =
      (density(y) * torch::softmax(logits, 1).select(1, k)).sum().item<double>() * 1e-5;
  const auto x0 = torch::full({n, 1}, level_value(k), torch::kFloat64);
  const auto d = dequantise_variational(x0, *schedule, slot_range(0, n), 3);
  const auto ratio = density(d.y) * (-d.log_q).exp();
  const double error = ratio.std().item<double>() / std::sqrt(double(n));
  EXPECT_LT(error, 0.02 * expected);
  EXPECT_NEAR(ratio.mean().item<double>(), expected, 4 * error);
}

TEST(Dequantise, DrawsDependOnSeedSlotAndIndex) {
  const auto x0 = torch::full({3, 1, 2, 2}, level_value(7), torch::kFloat32);
  const auto schedule = schedule_named("vdm_linear");
  const auto a = dequantise_truncated_normal(x0, *schedule, {4, 5, 6}, 1);
  EXPECT_TRUE(
      torch::equal(a.y[1], dequantise_truncated_normal(x0.slice(0, 0, 1), *schedule, {5}, 1).y[0]));
  EXPECT_FALSE(torch::equal(a.y, dequantise_truncated_normal(x0, *schedule, {4, 5, 6}, 1, 1).y));
  EXPECT_FALSE(
      torch::equal(dequantise_uniform(x0, {0, 1, 2}, 1).y, dequantise_uniform(x0, {0, 1, 2}, 2).y));
  EXPECT_EQ(a.y.scalar_type(), torch::kFloat32);
}

TEST(Dequantise, KEqualDrawsAreWorthOne) {
  // log of a mean, not of a sum: a missing -log K would lower the result by log 4.
  const auto nats = doubles({3.0, 700.0}).unsqueeze(0), log_q = doubles({1.0, -2.0}).unsqueeze(0);
  expect_close(importance_weighted_nats(nats.expand({4, 2}), log_q.expand({4, 2})),
               doubles({4.0, 698.0}), 1e-14);
  // Two draws of weights e^-1 and e^-3: -log((e^-1 + e^-3) / 2).
  EXPECT_NEAR(
      importance_weighted_nats(doubles({1}).view({1, 1}), doubles({0}).view({1, 1})).item<double>(),
      1, 1e-14);
  EXPECT_NEAR(
      importance_weighted_nats(doubles({1, 3}).view({2, 1}), torch::zeros({2, 1}, torch::kFloat64))
          .item<double>(),
      -std::log((std::exp(-1) + std::exp(-3)) / 2), 1e-14);
}

TEST(VariationalBound, ErrorsNameTheOffendingValue) {
  const auto log_snr = torch::tensor(13.3, torch::kFloat64);
  expect_error<DataError>(
      [&] { discrete_reconstruction_nats(doubles({0.1234}), doubles({0}), log_snr); }, "0.1234");
  expect_error<DataError>([&] { check_on_pixel_levels(doubles({level_value(256)})); }, "1.0039");
  expect_error<DataError>([&] { dequantise_uniform(doubles({0.5}), {0}, 0); }, "0.5");
  expect_error<ShapeError>(
      [&] { discrete_reconstruction_nats(doubles({0}), doubles({0, 1}), log_snr); }, "(2)");
  expect_error<ConfigError>([] { decoder_from_name("normal"); },
                            "\"normal\": expected one of discrete flat tweedie");
  EXPECT_EQ(decoder_from_name("tweedie"), Decoder::tweedie);
  expect_error<ConfigError>([] { uniform_dequantisation_offset_nats(1, 0); }, "bin width 0");
  expect_error<ShapeError>([] { importance_weighted_nats(doubles({1}), doubles({1, 2})); }, "(2)");
  EXPECT_EQ(name_of(ResultKind::bound) + name_of(ResultKind::estimate) + name_of(ResultKind::exact),
            "boundestimateexact");
}

}  // namespace
}  // namespace scorenet::diffusion
