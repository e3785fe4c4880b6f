// The pieces below the networks: noise-level embedding, attention, precision.
#include "models/embedding.hpp"

#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <numbers>

#include "framework/core/error.hpp"
#include "models/attention.hpp"
#include "models/autocast.hpp"
#include "models/mlp.hpp"

namespace scorenet::models {
namespace {

using testing::HasSubstr;

TEST(TimeCoordinate, SpansAThousandStepsOverFortyNats) {
  const auto u = time_coordinate(torch::tensor({20.0, 0.0, -20.0}));
  EXPECT_TRUE(torch::equal(u, torch::tensor({0.0, 500.0, 1000.0}, torch::kFloat64)));
}

TEST(TimeCoordinate, OfATableIsTheStepAndLinearBetweenSteps) {
  const std::vector<double> table{9.0, 5.0, 3.0, -7.0};
  const auto l = torch::tensor({9.0, 5.0, -7.0, 7.0, -2.0, 50.0, -50.0}, torch::kFloat64);
  // 7 lies half way between steps 0 and 1, -2 half way between 2 and 3; outside the table
  // its ends hold.
  const auto expected = torch::tensor({0.0, 1.0, 3.0, 0.5, 2.5, 0.0, 3.0}, torch::kFloat64);
  EXPECT_TRUE(torch::allclose(time_coordinate(l, table), expected, 0, 1e-12));
}

TEST(TimeCoordinate, RefusesATableThatDoesNotFall) {
  EXPECT_THROW(time_coordinate(torch::zeros({1}), {1.0, 1.0}), ConfigError);
  EXPECT_THROW(time_coordinate(torch::zeros({1}), {1.0}), ConfigError);
}

TEST(SinusoidalEmbedding, HoldsCosinesThenSinesOfFallingFrequencies) {
  const auto e = sinusoidal_embedding(torch::tensor({2.0}), {.dim = 4}, torch::kFloat64);
  // Frequencies 1 and 10000^(-1/2) = 0.01.
  const auto expected = torch::tensor(
      {std::cos(2.0), std::cos(0.02), std::sin(2.0), std::sin(0.02)}, torch::kFloat64);
  EXPECT_TRUE(torch::allclose(e[0], expected, 0, 1e-15));
  // freq_shift 1: exponents i / (2 - 1), so 1 and 1e-4; sines first.
  const auto shifted = sinusoidal_embedding(
      torch::tensor({2.0}), {.dim = 4, .cosines_first = false, .freq_shift = 1}, torch::kFloat64);
  EXPECT_NEAR(shifted[0][0].item<double>(), std::sin(2.0), 1e-15);
  EXPECT_NEAR(shifted[0][3].item<double>(), std::cos(2e-4), 1e-15);
  EXPECT_THROW(sinusoidal_embedding(torch::zeros({1}), {.dim = 5}, torch::kFloat64), ConfigError);
}

TEST(FourierFeatures, FollowTheInputChannels) {
  const auto x = torch::full({1, 2, 1, 1}, 0.25 / 128, torch::kFloat64);
  const auto y = append_fourier_features(x, {7, 8});
  ASSERT_EQ(y.sizes(), (std::vector<int64_t>{1, 10, 1, 1}));
  // 2^7 pi x = pi / 4, 2^8 pi x = pi / 2.
  EXPECT_NEAR(y[0][0].item<double>(), 0.25 / 128, 1e-15);
  EXPECT_NEAR(y[0][2].item<double>(), std::sqrt(0.5), 1e-12);
  EXPECT_NEAR(y[0][6].item<double>(), 1.0, 1e-12);
  EXPECT_NEAR(y[0][8].item<double>(), 0.0, 1e-12);
}

TEST(MLPTimeFeatures, AreTheTimesTheyName) {
  // log_snr = 0: alpha^2 = sigma^2 = 1/2, a quarter turn of the cosine schedule's half: time 1/2.
  const auto at = [](const char* name, double l) {
    return mlp_time_features(torch::tensor({l}, torch::kFloat64), {.time_embedding = name},
                             torch::kFloat64)
        .item<double>();
  };
  EXPECT_NEAR(at("angle", 0.0), 0.5, 1e-15);
  EXPECT_NEAR(at("scalar", 6.0), 1.5, 1e-15);
  // vp_ramp with beta = 20 has alpha^2 = exp(-10 t^2); t = 0.3:
  // log_snr = log(alpha^2 / (1 - alpha^2)).
  const double a = std::exp(-10 * 0.09);
  EXPECT_NEAR(at("attenuation", std::log(a / (1 - a))), 0.3, 1e-12);
  try {
    at("wavelet", 0.0);
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), testing::AllOf(HasSubstr("wavelet"), HasSubstr("attenuation")));
  }
}

TEST(Attention, IsSoftmaxOfScaledProductsTimesValues) {
  torch::manual_seed(1);
  const auto q = torch::randn({2, 3, 5, 4}), k = torch::randn({2, 3, 5, 4}),
             v = torch::randn({2, 3, 5, 4});
  const auto expected = torch::matmul((torch::matmul(q, k.transpose(2, 3)) / 2).softmax(-1), v);
  EXPECT_TRUE(torch::allclose(attend(q, k, v), expected, 1e-5, 1e-6));
  // bfloat16 holds 8 bits: products of order one agree to a few times 2^-8.
  const auto low = attend(q.to(torch::kBFloat16), k.to(torch::kBFloat16), v.to(torch::kBFloat16));
  EXPECT_EQ(low.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(torch::allclose(low.to(torch::kFloat32), expected, 0, 0.05));
}

// The likelihoods of the h expansion take a gradient of a gradient, which LibTorch's fused kernels
// do not have.
TEST(Attention, HasSecondDerivatives) {
  torch::manual_seed(2);
  const auto q = torch::randn({2, 3, 5, 4}).requires_grad_(true), k = torch::randn({2, 3, 5, 4}),
             v = torch::randn({2, 3, 5, 4}), u = torch::randn({2, 3, 5, 4});
  const auto plain = [&](const torch::Tensor& x) {
    return torch::matmul((torch::matmul(x, k.transpose(2, 3)) / 2).softmax(-1), v);
  };
  // The gradient of u.grad(|y|^2), and before it a first derivative of the same graph.
  const auto derivatives = [&](const torch::Tensor& y) {
    const auto loss = y.square().sum();
    const auto first = torch::autograd::grad({loss}, {q}, {}, true, false)[0];
    const auto recorded = torch::autograd::grad({loss}, {q}, {}, true, true)[0];
    EXPECT_TRUE(torch::allclose(first, recorded, 1e-5, 1e-6));
    return torch::autograd::grad({(recorded * u).sum()}, {q})[0];
  };
  const auto found = derivatives(attend(q, k, v)), expected = derivatives(plain(q));
  EXPECT_GT(expected.abs().max().item<double>(), 0.1);
  EXPECT_TRUE(torch::allclose(found, expected, 1e-4, 1e-5));
}

TEST(Autocast, LowersProductsInsideTheScopeOnly) {
  const auto a = torch::ones({2, 2});
  {
    const AutocastScope scope(torch::kBFloat16);
    EXPECT_EQ(torch::mm(a, a).scalar_type(), torch::kBFloat16);
    {
      const AutocastScope inner(torch::kFloat32);
      EXPECT_EQ(torch::mm(a, a).scalar_type(), torch::kFloat32);
    }
    EXPECT_EQ(torch::mm(a, a).scalar_type(), torch::kBFloat16);
  }
  EXPECT_EQ(torch::mm(a, a).scalar_type(), torch::kFloat32);
}

TEST(Autocast, ForgetsLoweredWeightsWhenTheScopeEnds) {
  // A cached copy of the old weight must not serve the next step.
  auto w = torch::ones({2, 2}).requires_grad_(true);
  const auto product = [&] {
    const AutocastScope scope(torch::kBFloat16);
    return torch::mm(torch::ones({2, 2}), w)[0][0].item<float>();
  };
  EXPECT_EQ(product(), 2.0f);
  w.data().fill_(3.0);
  EXPECT_EQ(product(), 6.0f);
}

TEST(Autocast, Float32ProductsOfAGpuAreRoundedAsAsked) {
  const auto rounded = [](const char* precision) {
    round_products_as(precision);
    return std::pair{at::globalContext().allowTF32CuDNN(), at::globalContext().allowTF32CuBLAS()};
  };
  EXPECT_EQ(rounded("tf32"), std::pair(true, true));
  EXPECT_EQ(rounded("fp32"), std::pair(false, false));
  EXPECT_EQ(rounded("auto"), std::pair(true, false));  // LibTorch's own choice
}

TEST(Autocast, PrecisionNamesAreThoseOfTheConfig) {
  EXPECT_EQ(compute_dtype("fp32"), torch::kFloat32);
  EXPECT_EQ(compute_dtype("tf32"), torch::kFloat32);
  EXPECT_EQ(compute_dtype("bf16"), torch::kBFloat16);
  EXPECT_EQ(compute_dtype("fp16"), torch::kFloat16);
  try {
    compute_dtype("fp8");
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), testing::AllOf(HasSubstr("fp8"), HasSubstr("bf16")));
  }
}

}  // namespace
}  // namespace scorenet::models
