// Two labelled Gaussians: p(x | c = +-1) = N(+-1, s^2), equally likely. Every guided
// score is known.
#include "framework/diffusion/guidance.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>

#include "framework/core/error.hpp"

namespace scorenet::diffusion {
namespace {

constexpr double kAlpha = 0.8, kSigma = 0.6, kDeviation = 0.4;
constexpr double kVariance = kAlpha * kAlpha * kDeviation * kDeviation + kSigma * kSigma;

NoiseLevel level(int64_t batch) {
  const auto full = [&](double value) { return torch::full({batch}, value, torch::kFloat64); };
  return {full(kAlpha), full(kSigma), full(2 * std::log(kAlpha / kSigma))};
}

Denoised from_score(const torch::Tensor& x, const torch::Tensor& score) {
  return {(x + kSigma * kSigma * score) / kAlpha, -kSigma * score};
}
torch::Tensor score_of(const Denoised& d) { return d.eps / -kSigma; }

// q_c = -(x - c alpha) / V, and P(c = 1 | x) = sigmoid(2 alpha x / V), so q_u = -(x - alpha
// tanh(alpha x / V)) / V.
torch::Tensor conditional_score(const torch::Tensor& x, double c) {
  return -(x - c * kAlpha) / kVariance;
}
torch::Tensor marginal_score(const torch::Tensor& x) {
  return -(x - kAlpha * torch::tanh(kAlpha * x / kVariance)) / kVariance;
}
const Denoiser kConditional = [](const torch::Tensor& x, const NoiseLevel&) {
  return from_score(x, conditional_score(x, 1));
};
const Denoiser kMarginal = [](const torch::Tensor& x, const NoiseLevel&) {
  return from_score(x, marginal_score(x));
};

const torch::Tensor kX = torch::linspace(-2, 2, 9, torch::kFloat64).unsqueeze(1);

void expect_score(const Denoised& guided, const torch::Tensor& score) {
  EXPECT_TRUE(torch::allclose(score_of(guided), score, 1e-12, 1e-12));
  // Both estimates describe one point: x_t = alpha x0 + sigma eps.
  EXPECT_TRUE(torch::allclose(kAlpha * guided.x0 + kSigma * guided.eps, kX, 1e-12, 1e-12));
}

TEST(Guidance, ClassifierFreeExtrapolatesFromTheMarginalThroughTheConditionalScore) {
  for (const double w : {0.0, 1.0, 3.0}) {
    const auto guided = classifier_free_guidance(kMarginal, kConditional, w)(kX, level(9));
    const auto q_u = marginal_score(kX), q_c = conditional_score(kX, 1);
    expect_score(guided, q_u + w * (q_c - q_u));
  }
}

TEST(Guidance, TheExactClassifierGivesTheClassifierFreeScore) {
  // log P(c = 1 | x) = log sigmoid(2 alpha x / V): logits (0, 2 alpha x / V). By Bayes its gradient
  // is q_c - q_u.
  const NoisyClassifier logits = [](const torch::Tensor& x, const NoiseLevel& at) {
    EXPECT_EQ(at.log_snr.size(0), x.size(0));
    return torch::cat({torch::zeros_like(x), 2 * kAlpha / kVariance * x}, 1);
  };
  const torch::NoGradGuard as_in_a_sampler;
  const auto gradient = class_gradient(logits, torch::ones({9}, torch::kLong));
  const auto q_u = marginal_score(kX), q_c = conditional_score(kX, 1);
  EXPECT_TRUE(torch::allclose(gradient(kX, level(9)), q_c - q_u, 1e-12, 1e-12));
  for (const double w : {0.0, 1.0, 3.0}) {
    expect_score(classifier_guidance(kMarginal, gradient, w)(kX, level(9)), q_u + w * (q_c - q_u));
  }
}

TEST(Guidance, AutoguidanceWithWeightOneIsTheModelItself) {
  expect_score(autoguidance(kConditional, kMarginal, 1)(kX, level(9)), conditional_score(kX, 1));
  // w = 2: twice the strong score less the weak one.
  expect_score(autoguidance(kConditional, kMarginal, 2)(kX, level(9)),
               2 * conditional_score(kX, 1) - marginal_score(kX));
}

TEST(Guidance, AnIntervalGuidesInsideAndEvaluatesNothingElseThanItNeeds) {
  int guided_calls = 0, plain_calls = 0;
  const Denoiser guided = [&](const torch::Tensor& x, const NoiseLevel& l) {
    ++guided_calls;
    return kConditional(x, l);
  };
  const Denoiser plain = [&](const torch::Tensor& x, const NoiseLevel& l) {
    ++plain_calls;
    return kMarginal(x, l);
  };
  const Denoiser both = guidance_interval(guided, plain, -1, 1);
  NoiseLevel at = level(9);
  expect_score(both(kX, at), conditional_score(kX, 1));
  EXPECT_EQ(plain_calls, 0);
  at.log_snr = torch::full({9}, 1.5, torch::kFloat64);
  expect_score(both(kX, at), marginal_score(kX));
  EXPECT_EQ(guided_calls, 1);
  // Example by example where the batch straddles an end.
  at.log_snr = torch::linspace(-2, 2, 9, torch::kFloat64);
  const auto inside = at.log_snr.abs().le(1).unsqueeze(1);
  expect_score(both(kX, at), torch::where(inside, conditional_score(kX, 1), marginal_score(kX)));
}

TEST(Guidance, AnEmptyIntervalIsAnError) {
  try {
    guidance_interval(kMarginal, kMarginal, 2, 1);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("2.0"));
  }
}

}  // namespace
}  // namespace scorenet::diffusion
