// EDM's augmentation against images whose change is known: exactly, or from a function of the
// place.
#include "framework/data/augment.hpp"

#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>
#include <functional>
#include <numbers>

#include "framework/core/random.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::data {
namespace {

torch::Tensor numbered() { return torch::arange(2 * 6 * 8, torch::kUInt8).view({1, 2, 6, 8}); }

torch::Tensor one(const torch::Tensor& image, const Augmentation& a) {
  return augmented(image, {a});
}

// f at the places of the pixels, from the image's centre: (1, 1, n, n).
torch::Tensor image_of(const std::function<double(double x, double y)>& f, int64_t n) {
  torch::Tensor image = torch::empty({1, 1, n, n});
  for (int64_t row = 0; row < n; ++row)
    for (int64_t column = 0; column < n; ++column)
      image[0][0][row][column] = f(static_cast<double>(column) - static_cast<double>(n - 1) / 2,
                                   static_cast<double>(row) - static_cast<double>(n - 1) / 2);
  return image;
}

// Smooth and without any symmetry.
double smooth(double x, double y) {
  return std::sin(0.2 * x + 0.1) + std::cos(0.15 * y - 0.3) + 0.5 * std::sin(0.1 * x * 0.1 * y + 1);
}

// The largest difference in the middle, which no mirrored border reaches.
double difference(const torch::Tensor& a, const torch::Tensor& b) {
  const int64_t n = a.size(2), margin = n / 3;
  const auto middle = [&](const torch::Tensor& t) {
    return t.narrow(2, margin, n - 2 * margin).narrow(3, margin, n - 2 * margin);
  };
  return (middle(a) - middle(b)).abs().max().item<double>();
}

TEST(Augment, OfNothingIsTheImageBitForBit) {
  EXPECT_TRUE(torch::equal(one(numbered(), {}), numbered().to(torch::kFloat32)));
  const auto none = draw_augmentations(0, 3, 5, slot_range(0, 64));
  EXPECT_TRUE(told_of(none).eq(0).all().item<bool>());
}

TEST(Augment, FlipsAreExact) {
  const auto image = numbered().to(torch::kFloat32);
  EXPECT_TRUE(torch::equal(one(numbered(), {.flip_x = true}), image.flip(3)));
  EXPECT_TRUE(torch::equal(one(numbered(), {.flip_y = true}), image.flip(2)));
  EXPECT_TRUE(torch::equal(one(image, {.flip_x = true, .flip_y = true}), image.flip({2, 3})));
  EXPECT_TRUE(torch::equal(image, numbered().to(torch::kFloat32)));  // the input stays
}

TEST(Augment, AWholeTranslationIsExactAndMirrorsAtTheBorder) {
  // 2 of 8 columns to the right, 3 of 6 rows up: a = 2 / (8 / 8), b = -3 / (6 / 8).
  const auto image = numbered().to(torch::kFloat32);
  const auto moved = one(image, {.translate_x = 2, .translate_y = -4});
  EXPECT_TRUE(
      torch::equal(moved.slice(2, 0, 3).slice(3, 2, 8), image.slice(2, 3, 6).slice(3, 0, 6)));
  EXPECT_TRUE(torch::equal(moved.slice(2, 0, 3).slice(3, 0, 2),
                           image.slice(2, 3, 6).slice(3, 0, 2).flip(3)));
}

TEST(Augment, AQuarterTurnTakesXToY) {
  // Right becomes down: clockwise, as images are shown.
  const auto image = torch::arange(49, torch::kFloat32).view({1, 1, 7, 7});
  const auto turned = one(image, {.rotation = std::numbers::pi / 2});
  EXPECT_LT((turned - torch::rot90(image, -1, {2, 3})).abs().max().item<double>(), 1e-4);
}

TEST(Augment, ScalingAndStretchingAndTurningAreThoseOfTheFunction) {
  const int64_t n = 48;
  const auto image = image_of(smooth, n);
  const double s = std::exp2(0.2 * 1.5);
  EXPECT_LT(difference(one(image, {.scale = 1.5}),
                       image_of([&](double x, double y) { return smooth(x / s, y / s); }, n)),
            1e-3);
  const auto along_x = image_of([&](double x, double y) { return smooth(x / s, y * s); }, n);
  EXPECT_LT(difference(one(image, {.stretch = 1.5}), along_x), 1e-3);
  const auto along_y = image_of([&](double x, double y) { return smooth(x * s, y / s); }, n);
  EXPECT_LT(difference(one(image, {.stretch = 1.5, .direction = std::numbers::pi / 2}), along_y),
            1e-3);
  // All of them, in the order of the table: the inverse of each in turn, last first.
  const Augmentation all{.flip_x = true,
                         .scale = -0.7,
                         .rotation = 0.4,
                         .stretch = 0.9,
                         .direction = 1.1,
                         .translate_x = 0.5,
                         .translate_y = -0.3};
  const auto expected = image_of(
      [&](double x, double y) {
        x -= 0.5 * n / 8;
        y += 0.3 * n / 8;
        const double a = std::exp2(0.2 * 0.9), c = std::cos(1.1), d = std::sin(1.1);
        const double along = (c * x + d * y) / a, across = (-d * x + c * y) * a;
        const double u = c * along - d * across, v = d * along + c * across;
        const double t = std::exp2(0.2 * 0.7);
        const double p = (std::cos(0.4) * u + std::sin(0.4) * v) * t;
        const double q = (-std::sin(0.4) * u + std::cos(0.4) * v) * t;
        return smooth(-p, q);
      },
      n);
  EXPECT_LT(difference(one(image, all), expected), 2e-3);
}

TEST(Augment, TheNetworkIsToldEdmsNineNumbers) {
  const auto told = told_of({{.flip_x = true,
                              .scale = 0.5,
                              .rotation = std::numbers::pi / 3,
                              .stretch = 2,
                              .direction = std::numbers::pi / 6,
                              .translate_x = -1,
                              .translate_y = 0.25},
                             {.flip_y = true}});
  const double root = std::sqrt(3.0);
  const auto expected = torch::tensor({1.0, 0.0, 0.5, -0.5, root / 2, root, 1.0, -1.0, 0.25,  //
                                       0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0})
                            .view({2, 9});
  EXPECT_TRUE(torch::allclose(told, expected, 1e-6, 1e-6));
}

TEST(Augment, DrawsHaveTheirProbabilitiesAndDeviations) {
  const int64_t n = 20'000;
  const auto told = told_of(draw_augmentations(0.12, 1, 2, slot_range(0, n))).to(torch::kFloat64);
  const auto share = [&](int64_t column) {
    return told.select(1, column).ne(0).to(torch::kFloat64).mean().item<double>();
  };
  // Five standard errors of a share of n draws.
  EXPECT_NEAR(share(0), 0.5, 0.018);
  EXPECT_NEAR(share(1), 0.06, 0.0085);
  for (const int64_t column : {2, 3, 5, 7}) EXPECT_NEAR(share(column), 0.12, 0.0115) << column;
  for (const int64_t column : {2, 7, 8}) {
    const auto values = told.select(1, column);
    const auto drawn = values.masked_select(values.ne(0));
    EXPECT_NEAR(drawn.mean().item<double>(), 0, 0.11) << column;
    EXPECT_NEAR(drawn.std().item<double>(), 1, 0.08) << column;
  }
  // Gates are independent: 0.12^2 of both.
  const auto both = told.select(1, 2).ne(0).logical_and(told.select(1, 7).ne(0));
  EXPECT_NEAR(both.to(torch::kFloat64).mean().item<double>(), 0.0144, 0.0043);
}

TEST(Augment, ADrawBelongsToItsStepAndSlot) {
  const auto all = told_of(draw_augmentations(0.5, 7, 3, slot_range(0, 8)));
  const auto part = told_of(draw_augmentations(0.5, 7, 3, {4, 5, 6, 7}));
  EXPECT_TRUE(torch::equal(all.narrow(0, 4, 4), part));
  EXPECT_FALSE(torch::equal(all, told_of(draw_augmentations(0.5, 7, 4, slot_range(0, 8)))));
  EXPECT_FALSE(torch::equal(all, told_of(draw_augmentations(0.5, 8, 3, slot_range(0, 8)))));
}

TEST(Augment, OnlyImagesCanBeAugmented) {
  EXPECT_ERROR(augmented(torch::zeros({2, 3}), {{}, {}}), ConfigError, "data.augment: examples",
               "1 axes");
}

}  // namespace
}  // namespace scorenet::data
