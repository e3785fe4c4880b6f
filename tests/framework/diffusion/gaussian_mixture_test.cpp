// The oracle of all other tests, against formulas of one dimension, autograd and moments.
#include "framework/diffusion/gaussian_mixture.hpp"

#include <torch/autograd.h>

#include <limits>
#include <numbers>

#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using test::doubles;
using test::expect_close;
using test::expect_error;
using test::gaussian;
using test::mixture_1d;
using test::schedule_named;

NoiseLevel level_of(double alpha, double sigma, int64_t batch) {
  const auto fill = [&](double x) { return torch::full({batch}, x, torch::kFloat64); };
  return {fill(alpha), fill(sigma), fill(2 * std::log(alpha / sigma))};
}

double normal_density(double x, double mean, double variance) {
  return std::exp(-(x - mean) * (x - mean) / (2 * variance)) /
         std::sqrt(2 * std::numbers::pi * variance);
}

std::shared_ptr<const GaussianMixture> mixture_3d() {
  const auto root = doubles({1, 0, 0, 0.5, 1, 0, -0.3, 0.2, 0.7}).view({3, 3});
  const auto c =
      torch::stack({torch::matmul(root, root.t()), 0.3 * torch::eye(3, torch::kFloat64)});
  return std::make_shared<GaussianMixture>(doubles({0.3, 0.7}),
                                           doubles({1, 0, -1, 0.2, -0.5, 0.4}).view({2, 3}), c);
}

TEST(GaussianMixture, OneGaussianHasTheAffineScoreAndDenoiser) {
  // x0 ~ N(m, s^2): with V = alpha^2 s^2 + sigma^2, score = -(x - alpha m) / V and
  // E[x0 given x] = m + alpha s^2 (x - alpha m) / V.
  const auto law = gaussian({2.0}, {0.25});
  const auto x = doubles({-1.0, 0.3, 4.0}).unsqueeze(1);
  const NoiseLevel level = level_of(0.6, 0.8, 3);
  const double v = 0.36 * 0.25 + 0.64;
  expect_close(law->score(x, level), -(x - 1.2) / v, 1e-14);
  const Denoised estimate = law->denoise(x, level);
  expect_close(estimate.x0, 2 + 0.6 * 0.25 * (x - 1.2) / v, 1e-14);
  expect_close(estimate.eps, 0.8 * (x - 1.2) / v, 1e-14);
  expect_close(law->posterior_covariance(x, level),
               torch::full({3, 1, 1}, 0.25 * 0.64 / v, torch::kFloat64), 1e-14);
}

TEST(GaussianMixture, TheDensityIsTheSumOfItsParts) {
  const auto law = mixture_1d({0.2, 0.8}, {-1, 2}, {0.5, 0.1});
  for (const double x : {-2.0, 0.4, 1.9}) {
    const double expected = 0.2 * normal_density(x, -0.8, 0.64 * 0.5 + 0.36) +
                            0.8 * normal_density(x, 1.6, 0.64 * 0.1 + 0.36);
    EXPECT_NEAR(law->log_density(doubles({x}).unsqueeze(1), level_of(0.8, 0.6, 1)).item<double>(),
                std::log(expected), 1e-13);
  }
  // At {1, 0, inf} it is the density of the data.
  const NoiseLevel clean = level_of(1, 0, 1);
  EXPECT_NEAR(law->log_density(doubles({2.1}).unsqueeze(1), clean).item<double>(),
              std::log(0.2 * normal_density(2.1, -1, 0.5) + 0.8 * normal_density(2.1, 2, 0.1)),
              1e-13);
}

TEST(GaussianMixture, ScoreAndHessianAreTheDerivativesOfTheLogDensity) {
  const auto law = mixture_3d();
  auto x = normal_for_slots({1, RandomStream::synthetic_data, 0}, slot_range(0, 4), {3},
                            torch::kFloat64);
  x.requires_grad_();
  const NoiseLevel level = level_of(0.9, 0.5, 4);
  const auto gradient =
      torch::autograd::grad({law->log_density(x, level).sum()}, {x}, {}, true, true)[0];
  expect_close(law->score(x, level).detach(), gradient.detach(), 1e-13);
  const auto hessian = law->hessian(x, level).detach();
  for (int64_t i = 0; i < 3; ++i) {
    const auto row = torch::autograd::grad({gradient.select(1, i).sum()}, {x}, {}, true)[0];
    expect_close(hessian.select(1, i), row.detach(), 1e-12);
  }
}

TEST(GaussianMixture, PosteriorCovarianceIsTweediesSecondOrder) {
  // Cov(x0 given x_t) = sigma^2 / alpha^2 (I + sigma^2 Hessian of log p).
  const auto law = mixture_3d();
  const auto x = normal_for_slots({2, RandomStream::synthetic_data, 0}, slot_range(0, 5), {3},
                                  torch::kFloat64);
  const NoiseLevel level = level_of(0.7, 0.9, 5);
  const auto tweedie =
      0.81 / 0.49 * (torch::eye(3, torch::kFloat64) + 0.81 * law->hessian(x, level));
  expect_close(law->posterior_covariance(x, level), tweedie, 1e-13);
}

TEST(GaussianMixture, BothEstimatesKeepTheirDigitsAtBothEnds) {
  // alpha x0_hat + sigma eps_hat = x_t always; near the data x0_hat -> x_t / alpha and near the
  // noise eps_hat -> x_t - alpha E[x0], each to full relative precision of the small number.
  const auto law = gaussian({0.0}, {1.0});
  const auto x = doubles({0.7}).unsqueeze(1);
  // alpha^2 + sigma^2 = 1 and unit data: eps_hat = sigma x exactly, x0_hat = alpha x exactly.
  for (const double sigma : {1e-9, 1e-5, 0.5, 1 - 1e-9}) {
    const double alpha = std::sqrt((1 - sigma) * (1 + sigma));
    const Denoised estimate = law->denoise(x, level_of(alpha, sigma, 1));
    EXPECT_NEAR(estimate.eps.item<double>() / (sigma * 0.7), 1, 1e-14) << sigma;
    EXPECT_NEAR(estimate.x0.item<double>() / (alpha * 0.7), 1, 1e-14) << sigma;
  }
}

TEST(GaussianMixture, SamplesHaveTheMixturesMomentsAndDependOnTheirSlot) {
  const auto law = mixture_3d();
  const int64_t n = 40'000;
  const RandomKey key{3, RandomStream::synthetic_data, 0};
  const auto x = law->sample(key, slot_range(0, n));
  const auto deviation = (x - law->mean());
  const auto mean_error = deviation.mean(0) / (law->covariance().diagonal() / double(n)).sqrt();
  EXPECT_LT(mean_error.abs().max().item<double>(), 4);
  const auto products = torch::einsum("ni,nj->nij", {deviation, deviation});
  const auto stderr_of_products = products.std(0) / std::sqrt(double(n));
  EXPECT_LT(
      ((products.mean(0) - law->covariance()) / stderr_of_products).abs().max().item<double>(), 4);
  EXPECT_TRUE(torch::equal(law->sample(key, {17, 5})[1], x[5]));
}

TEST(GaussianMixture, ErrorTermsMakeTheStatedWrongScoreAndStayConsistent) {
  const auto law = mixture_3d();
  ScoreErrors errors;
  errors.score_scale = 1.3;
  errors.linear = doubles({0.1, 0, 0, 0.2, -0.3, 0, 0, 0, 0.05}).view({3, 3});
  errors.offset = doubles({0.5, 0, -1});
  const auto denoiser = make_mixture_denoiser(law, errors);
  const auto x = normal_for_slots({4, RandomStream::synthetic_data, 0}, slot_range(0, 6), {3},
                                  torch::kFloat64);
  const NoiseLevel level = level_of(0.6, 0.7, 6);
  const auto score =
      1.3 * law->score(x, level) + torch::matmul(x, errors.linear.t()) + errors.offset;
  const Denoised estimate = denoiser(x, level);
  expect_close(estimate.eps, -0.7 * score, 1e-13);
  expect_close(0.6 * estimate.x0 + 0.7 * estimate.eps, x, 1e-13);
  EXPECT_FALSE(ScoreErrors{}.any());
  EXPECT_TRUE(errors.any());
}

TEST(GaussianMixture, ImagesKeepTheirShapeAndDtype) {
  const auto law = gaussian({1, 2, 3, 4}, {1, 1, 2, 2});
  const auto x = torch::ones({2, 1, 2, 2}, torch::kFloat32);
  const NoiseLevel level = schedule_named("vp_linear")->at(0.5, 2);
  EXPECT_EQ(law->score(x, level).sizes(), x.sizes());
  EXPECT_EQ(law->denoise(x, level).x0.scalar_type(), torch::kFloat32);
  EXPECT_EQ(make_mixture_denoiser(law, {2.0, {}, {}})(x, level).eps.sizes(), x.sizes());
}

// A covariance that depends on the places' difference alone, from the variances of its waves:
// C(x, y) = mean over k of s(k) cos(k (x - y)).
torch::Tensor circulant(const torch::Tensor& spectrum) {
  const int64_t height = spectrum.size(0), width = spectrum.size(1);
  auto covariance = torch::zeros({height, width, height, width}, torch::kFloat64);
  for (int64_t k = 0; k < height; ++k) {
    for (int64_t l = 0; l < width; ++l) {
      const auto phase = [](int64_t wave, int64_t size) {
        const auto at = 2 * std::numbers::pi * static_cast<double>(wave) /
                        static_cast<double>(size) * torch::arange(size, torch::kFloat64);
        return at.unsqueeze(1) - at;
      };
      const auto angle = phase(k, height).view({height, 1, height, 1}) +
                         phase(l, width).view({1, width, 1, width});
      covariance += spectrum[k][l] * angle.cos() / static_cast<double>(height * width);
    }
  }
  return covariance.view({height * width, height * width});
}

TEST(GaussianMixture, AFieldIsTheGaussianOfItsCirculantCovariance) {
  // Two channels on a grid of 4 x 3, of which 3 has no wave of its own opposite but 0.
  const auto square = [](int64_t n) {
    const auto k = torch::arange(n, torch::kFloat64);
    return torch::minimum(k, static_cast<double>(n) - k).square();
  };
  const auto spectrum = 1 / (0.5 + square(4).unsqueeze(1) + 2 * square(3));
  const auto spectra = torch::stack({spectrum, 0.3 * spectrum.sqrt()});
  const auto covariance = torch::block_diag({circulant(spectra[0]), circulant(spectra[1])});
  const auto means = doubles({0.5, -2});
  const GaussianMixture field = GaussianMixture::field(means, spectra);
  const GaussianMixture dense(doubles({1}), means.repeat_interleave(12).unsqueeze(0),
                              covariance.unsqueeze(0));
  expect_close(field.covariance(), covariance, 1e-14);
  expect_close(field.mean(), dense.mean(), 0);
  const auto x = normal_for_slots({5, RandomStream::synthetic_data, 0}, slot_range(0, 3), {2, 4, 3},
                                  torch::kFloat64);
  const NoiseLevel level = level_of(0.8, 0.4, 3);
  expect_close(field.log_density(x, level), dense.log_density(x, level), 1e-12);
  expect_close(field.score(x, level), dense.score(x, level), 1e-12);
  expect_close(field.denoise(x, level).x0, dense.denoise(x, level).x0, 1e-12);
  expect_close(field.denoise(x, level).eps, dense.denoise(x, level).eps, 1e-12);
  expect_close(field.hessian(x, level), dense.hessian(x, level), 1e-12);
  expect_close(field.log_posterior(x, x + 0.1, level), dense.log_posterior(x, x + 0.1, level),
               1e-11);
  expect_close(field.posterior_covariance(x, level), dense.posterior_covariance(x, level), 1e-12);
  const auto drawn = field.sample({6, RandomStream::synthetic_data, 0}, slot_range(0, 20'000));
  EXPECT_LT((drawn.t().cov() - covariance).abs().max().item<double>(), 0.05);
  expect_error<DataError>([&] { GaussianMixture::field(means, -spectra); }, "least value -");
  auto skew = spectra.clone();
  skew[0][1][1] += 1;
  expect_error<DataError>([&] { GaussianMixture::field(means, skew); }, "opposite waves");
  expect_error<ShapeError>([&] { GaussianMixture::field(means, spectrum); }, "spectra (4, 3)");
}

TEST(GaussianMixture, ErrorsNameTheOffendingValue) {
  const auto eye = torch::eye(2, torch::kFloat64).unsqueeze(0);
  const auto zero = torch::zeros({1, 2}, torch::kFloat64);
  const auto make = [](const torch::Tensor& w, const torch::Tensor& m, const torch::Tensor& c) {
    return [=] { GaussianMixture(w, m, c); };
  };
  expect_error<DataError>(make(doubles({0.9}), zero, eye), "sum 0.9");
  expect_error<DataError>(make(doubles({1}), zero, -eye), "eigenvalue -1");
  expect_error<DataError>(make(doubles({1}), zero, eye + torch::ones({1, 2, 2}).triu(1)),
                          "transposes by 1");
  expect_error<ShapeError>(make(doubles({1}), torch::zeros({1, 3}), eye), "means (1, 3)");
  const auto law = gaussian({0, 0}, {1, 1});
  expect_error<ShapeError>([&] { law->score(torch::zeros({1, 3}), level_of(1, 1, 1)); }, "(1, 3)");
  expect_error<ShapeError>([&] { make_mixture_denoiser(law, {1.0, doubles({1}), {}}); },
                           "score_linear");
  expect_error<ShapeError>([&] { make_mixture_denoiser(law, {1.0, {}, doubles({1})}); },
                           "score_offset");
}

}  // namespace
}  // namespace scorenet::diffusion
