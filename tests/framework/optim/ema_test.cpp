#include "framework/optim/ema.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "framework/core/error.hpp"

namespace scorenet::optim {
namespace {

using Kind = EmaProfile::Kind;
using testing::HasSubstr;

TEST(Ema, OfAConstantForgetsItsStartGeometrically) {
  // From ema_0 towards a constant p: ema_n = p + decay^n (ema_0 - p).
  EmaSet ema(torch::zeros({3}, torch::kFloat64), {{Kind::constant, 0.9}, {Kind::constant, 0.5}});
  for (int64_t n = 0; n < 7; ++n) {
    ema.update(torch::full({3}, 2.0, torch::kFloat64), {.step = n, .batch = 1});
  }
  EXPECT_NEAR(ema.averages()[0][1].item<double>(), 2 - 2 * std::pow(0.9, 7), 1e-14);
  EXPECT_NEAR(ema.averages()[1][1].item<double>(), 2 - 2 * std::pow(0.5, 7), 1e-14);
}

TEST(Ema, SharesReadOnTheDeviceAverageAlikeAndZeroChangesNothing) {
  const std::vector<EmaProfile> profiles{{Kind::constant, 0.9}, {Kind::half_life, 50}};
  const auto weights = torch::linspace(-1, 1, 7);
  EmaSet host(torch::zeros({7}), profiles), device(torch::zeros({7}), profiles);
  for (int64_t n = 0; n < 4; ++n) {
    const EmaMoment moment{.step = n, .images_before = 8 * n, .batch = 8};
    host.update(weights, moment);
    device.update(weights, torch::tensor(device.shares(moment), torch::kFloat32));
  }
  const torch::Tensor before = device.averages()[1].clone();
  device.update(weights, torch::zeros({2}));
  for (size_t i = 0; i < 2; ++i)
    EXPECT_TRUE(torch::allclose(host.averages()[i], device.averages()[i], 1e-6, 1e-7)) << i;
  EXPECT_TRUE(torch::equal(device.averages()[1], before));
}

TEST(Ema, HalfTheWeightIsOlderThanTheHalfLife) {
  // Half-life 1000 images in steps of 100: after ten steps 1/2 of the start is left.
  EmaSet ema(torch::ones({1}, torch::kFloat64), {{Kind::half_life, 1000}});
  for (int64_t n = 0; n < 10; ++n) {
    ema.update(torch::zeros({1}, torch::kFloat64),
               {.step = n, .images_before = 100 * n, .batch = 100});
  }
  EXPECT_NEAR(ema.averages()[0].item<double>(), 0.5, 1e-14);
}

TEST(Ema, RampUpForgetsTheInitialWeightsAtOnce) {
  // Nothing trained yet: half-life 0, decay 0, the average is the weights.
  EXPECT_EQ(ema_decay({Kind::half_life, 1e6, 0.05}, {.images_before = 0, .batch = 10}), 0.0);
  EXPECT_EQ(ema_decay({Kind::constant, 0.999, 0.1}, {.step = 0, .batch = 10}), 0.0);
  // After 2000 images the half-life is 5 % of that, 100: decay 2^(-10/100).
  EXPECT_NEAR(ema_decay({Kind::half_life, 1e6, 0.05}, {.images_before = 2000, .batch = 10}),
              std::exp2(-0.1), 1e-15);
  // After 50 steps a constant decay's half-life is 10 % of that, 5 steps.
  EXPECT_NEAR(ema_decay({Kind::constant, 0.999, 0.1}, {.step = 50, .batch = 10}), std::exp2(-0.2),
              1e-15);
  // In the end the profile's own: ln 2 / -ln 0.999 = 692.8 steps < 10 % of 10,000.
  EXPECT_NEAR(ema_decay({Kind::constant, 0.999, 0.1}, {.step = 10000, .batch = 10}), 0.999, 1e-15);
}

TEST(Ema, PowerProfileAveragesWithWeightsThatGrowLikeTimeToGamma) {
  // The law ema(t) = (gamma + 1) / t^(gamma + 1) integral_0^t tau^gamma w(tau) d tau. For
  // w(tau) = tau it is t (gamma + 1) / (gamma + 2). Steps of 1 in 20,000 discretise it to 1e-4.
  const double sigma_rel = 0.1, gamma = ema_power_exponent(sigma_rel);
  EmaSet ema(torch::zeros({1}, torch::kFloat64), {{Kind::power, sigma_rel}});
  const int64_t n = 20000;
  for (int64_t i = 0; i < n; ++i) {
    ema.update(torch::full({1}, static_cast<double>(i + 1) / n, torch::kFloat64),
               {.step = i, .images_before = i, .batch = 1});
  }
  EXPECT_NEAR(ema.averages()[0].item<double>(), (gamma + 1) / (gamma + 2), 1e-4);
}

TEST(Ema, PowerExponentsAreThePublishedOnes) {
  // Karras et al. 2024 (2312.02696), section 3.1: gamma = 6.94 and 16.97 for
  // sigma_rel = 0.10 and 0.05.
  EXPECT_NEAR(ema_power_exponent(0.10), 6.94, 0.005);
  EXPECT_NEAR(ema_power_exponent(0.05), 16.97, 0.005);
  // gamma = 1: (1 + 1) / (3^2 4) = 1 / 18.
  EXPECT_NEAR(ema_power_exponent(std::sqrt(1.0 / 18)), 1.0, 1e-12);
}

TEST(Ema, AScopeShowsTheAverageAndRestoresTheWeightsEvenOnAnException) {
  auto weights = torch::arange(5, torch::kFloat32) / 3;
  const auto own = weights.clone();
  const auto average = torch::full({5}, 9.0f);
  try {
    const EmaScope scope(weights, average);
    EXPECT_TRUE(torch::equal(weights, average));
    throw ConfigError("evaluation failed");
  } catch (const ConfigError&) {
  }
  EXPECT_TRUE(torch::equal(weights, own));
  EXPECT_THROW(EmaScope(weights, torch::zeros({4})), ShapeError);
}

TEST(Ema, NamesAreThoseOfSnapshots) {
  EXPECT_EQ(ema_name({Kind::constant, 0.999}), "0.999");
  EXPECT_EQ(ema_name({Kind::constant, 0.9999}), "0.9999");
  EXPECT_EQ(ema_name({Kind::half_life, 500'000}), "500kimg");
  EXPECT_EQ(ema_name({Kind::power, 0.05}), "std0.05");
}

TEST(Ema, AProfileOutOfRangeIsNamedWhenTheSetIsMade) {
  const auto message = [](const EmaProfile& profile) -> std::string {
    try {
      EmaSet ema(torch::zeros({1}), {profile});
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message({Kind::constant, 1.5}), HasSubstr("1.5"));
  EXPECT_THAT(message({Kind::half_life, -3}), HasSubstr("-3"));
  EXPECT_THAT(message({Kind::power, 0.4}), HasSubstr("0.4"));
}

}  // namespace
}  // namespace scorenet::optim
