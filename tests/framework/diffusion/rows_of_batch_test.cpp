// Examples of a batch whose denoiser knows each by its place.
#include "framework/diffusion/rows_of_batch.hpp"

#include <torch/autograd.h>

#include <cmath>
#include <numbers>

#include "framework/diffusion/likelihood/hbar_elbo.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/sampler/sampler.hpp"
#include "tests/framework/diffusion/support.hpp"

namespace scorenet::diffusion {
namespace {

using namespace test;

// Example i has the law N(means_i, 0.04) under every schedule: an exact denoiser that knows each
// example by its place, and refuses a batch of another size.
Denoiser of_means(const std::vector<double>& means) {
  return [means](const torch::Tensor& x, const NoiseLevel& level) {
    EXPECT_EQ(x.size(0), static_cast<int64_t>(means.size()));
    const auto at = [](const torch::Tensor& t) { return t.unsqueeze(1); };
    const auto mean = doubles(means).unsqueeze(1);
    const auto variance = at(level.alpha.square()) * 0.04 + at(level.sigma.square());
    const auto eps = at(level.sigma) * (x - at(level.alpha) * mean) / variance;
    return Denoised{(x - at(level.sigma) * eps) / at(level.alpha), eps};
  };
}

TEST(RowsOfBatch, SomeExamplesGetWhatTheyGetInTheWholeBatch) {
  const Denoiser whole = of_means({-1, 0, 2});
  const auto schedule = schedule_named("vp_linear");
  const auto rows = torch::tensor({2, 0});
  const auto level = schedule->at(doubles({0.3, 0.6}));
  const auto x = doubles({0.5, -0.4}).unsqueeze(1).requires_grad_();
  const Denoised part = denoiser_of_rows(whole, rows, 3)(x, level);
  expect_close(part.eps, of_means({2, -1})(x, level).eps, 1e-15);
  expect_close(part.x0, of_means({2, -1})(x, level).x0, 1e-15);
  const auto gradient = torch::autograd::grad({part.eps.sum()}, {x})[0];
  const auto expected = torch::autograd::grad({of_means({2, -1})(x, level).eps.sum()}, {x})[0];
  expect_close(gradient, expected, 1e-15);
}

// An example that is hard and two that are easy leave the batch at different times.
TEST(RowsOfBatch, LikelihoodsOfToldExamplesAreThoseOfEachAlone) {
  const std::vector<double> means = {-1, 0, 2};
  const auto schedule = schedule_named("vp_linear");
  const auto x = doubles({-1.1, 0.05, 9}).unsqueeze(1);
  const auto whole = of_means(means);
  for (const bool adams : {false, true}) {
    for (const bool exact_trace : {false, true}) {
      const OdeLikelihoodOptions options{
          .exact_trace = exact_trace, .adams = adams, .tolerance = 1e-4, .whole_batch = true};
      const auto together = ode_likelihood(whole, *schedule, x, {0, 1, 2}, options);
      EXPECT_GT(together.nfe.max().item<double>(), together.nfe.min().item<double>());
      for (int64_t i = 0; i < 3; ++i) {
        const auto own = of_means({means[static_cast<size_t>(i)]});
        const auto alone = ode_likelihood(own, *schedule, x.slice(0, i, i + 1), {i}, options);
        expect_close(together.nats[i], alone.nats[0], 1e-12);
      }
    }
  }
}

// Exact traces and moments copy the examples elsewhere; here each must stay in its place.
TEST(RowsOfBatch, BoundsAlongNoisyPathsOfToldExamplesAreThoseOfEachAlone) {
  const std::vector<double> means = {-1, 0, 2};
  const auto schedule = schedule_named("vp_linear");
  const auto x = torch::tensor({{-1.1, -0.9}, {0.05, 0.1}, {2.3, 2.0}}, torch::kFloat64);
  const HbarOptions drawn{
      .hbars = {0, 0.5}, .steps = 20, .exact_trace = true, .seed = 3, .whole_batch = true};
  const auto together = hbar_likelihood(of_means(means), *schedule, x, {0, 1, 2}, drawn);
  const auto exactly = [&](const Denoiser& denoiser, const torch::Tensor& points, double hbar) {
    return hbar_elbo_exact(denoiser, *schedule, points, hbar, {.rtol = 1e-6, .atol = 1e-6}, {},
                           true)
        .nats;
  };
  const auto zero = exactly(of_means(means), x, 0), half = exactly(of_means(means), x, 0.5);
  for (int64_t i = 0; i < 3; ++i) {
    const auto own = of_means({means[static_cast<size_t>(i)]});
    const auto point = x.slice(0, i, i + 1);
    const auto alone = hbar_likelihood(own, *schedule, point, {i}, drawn);
    for (size_t h = 0; h < 2; ++h)
      expect_close(together[h].elbo.nats[i], alone[h].elbo.nats[0], 1e-12);
    expect_close(zero[i], exactly(own, point, 0)[0], 1e-12);
    expect_close(half[i], exactly(own, point, 0.5)[0], 1e-12);
    // N(mean, 0.04 I) itself, at the clean end of the schedule.
    const NoiseLevel clean = schedule->at(schedule->t_min(), 1);
    const double mean = clean.alpha.item<double>() * means[static_cast<size_t>(i)];
    const double variance =
        clean.alpha.square().item<double>() * 0.04 + clean.sigma.square().item<double>();
    const auto nats =
        (point - mean).square().sum() / (2 * variance) + std::log(2 * std::numbers::pi * variance);
    expect_close(half[i], nats, 1e-3);
  }
}

TEST(RowsOfBatch, TheAdaptiveSamplerTellsEachSampleItsOwn) {
  const auto schedule = schedule_named("vp_linear");
  const auto start = doubles({-3.0, 0.01, 2.0}).unsqueeze(1);
  const auto noise = make_slot_noise({0, 1, 2}, {1}, 0, torch::kCPU);
  SamplerOptions options{.name = "ode"};
  options.whole_batch = true;
  const auto samples = sample(of_means({-1, 0, 2}), *schedule, options, start, noise).x;
  for (int64_t i = 0; i < 3; ++i) {
    const auto own = of_means({std::vector<double>{-1, 0, 2}[static_cast<size_t>(i)]});
    const auto alone = sample(own, *schedule, options, start.slice(0, i, i + 1), noise).x;
    expect_close(samples[i], alone[0], 1e-12);
  }
}

}  // namespace
}  // namespace scorenet::diffusion
