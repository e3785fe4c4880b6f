#include "framework/core/pixels.hpp"

#include <gtest/gtest.h>

namespace scorenet {
namespace {

torch::Tensor all_levels() { return torch::arange(256, torch::kInt64).to(torch::kUInt8); }

TEST(Pixels, LevelsBecomeTheCentresOfTheirBins) {
  // 2 (k + 1/2) / 256 - 1: -255/256 for k = 0, 1/256 for k = 128, 255/256 for k = 255; all
  // exact in float32.
  const auto x = data_from_pixels(all_levels(), torch::kFloat32);
  EXPECT_EQ(x.scalar_type(), torch::kFloat32);
  EXPECT_EQ(x[0].item<float>(), -255.0f / 256);
  EXPECT_EQ(x[128].item<float>(), 1.0f / 256);
  EXPECT_EQ(x[255].item<float>(), 255.0f / 256);
  EXPECT_TRUE(x.diff().eq(2.0f / 256).all().item<bool>());
}

TEST(Pixels, EveryPointOfABinReturnsToItsLevel) {
  const auto centre = data_from_pixels(all_levels(), torch::kFloat32);
  EXPECT_TRUE(torch::equal(pixels_from_data(centre), all_levels()));
  EXPECT_TRUE(torch::equal(pixels_from_data(centre - 1.0 / 256),
                           all_levels()));  // the bin's lower end
  EXPECT_TRUE(torch::equal(pixels_from_data(centre + 0.99 / 256), all_levels()));
  EXPECT_TRUE(torch::equal(pixels_from_data(torch::tensor({-3.0, 1.0, 3.0})),
                           torch::tensor({0, 255, 255}).to(torch::kUInt8)));
}

TEST(Pixels, OnlyLevelsAreScaledIntoTheModelsRange) {
  EXPECT_TRUE(torch::equal(in_model_range(all_levels(), 256),
                           data_from_pixels(all_levels(), torch::kFloat32)));
  const auto real = torch::tensor({-7.5, 300.0}, torch::kFloat64);
  EXPECT_TRUE(torch::equal(in_model_range(real, 0), real));
}

}  // namespace
}  // namespace scorenet
