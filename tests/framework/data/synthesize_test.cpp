// Synthetic sets: the moments of their laws, and samples as functions of seed and place.
#include "framework/data/convert.hpp"
#include "tests/framework/data/convert_case.hpp"

namespace scorenet::data {
namespace {

TEST_F(ConvertTest, SyntheticSetsHaveTheMomentsOfTheirLaw) {
  const int64_t n = 20000;
  const auto read_all = [&](const std::string& kind) {
    synthesize(kind, {{"train", n}}, 7, options());
    Indices all(static_cast<size_t>(n));
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
    return opened("train").read(all);
  };
  // Mean 0, variance 1; the standard error of a variance is sqrt(2 / n).
  const auto gaussian = read_all("gaussian").examples;
  EXPECT_EQ(gaussian.scalar_type(), torch::kFloat64);
  EXPECT_TRUE(gaussian.mean(0).abs().lt(4 / std::sqrt(double(n))).all().item<bool>());
  EXPECT_TRUE(gaussian.var(0).sub(1).abs().lt(4 * std::sqrt(2.0 / double(n))).all().item<bool>());
  // Grid of 5 x 5, spacing 2: variance of {-4, -2, 0, 2, 4} is 8, so
  // (8 + 0.05^2) / 2.828^2 = 1.0006 exactly balanced.
  const auto grid = read_all("gaussians25");
  const auto moment = (8 + 0.0025) / (2.828 * 2.828);
  EXPECT_NEAR(grid.examples.pow(2).mean().item<double>(), moment,
              4 * 2 * 4 * 0.05 / 8 / std::sqrt(2.0 * double(n)));
  EXPECT_TRUE(torch::bincount(grid.labels).eq(n / 25).all().item<bool>());
  // Radius squared of the swiss roll: (E t^2 + 2 * 0.5^2) / 6.865^2; t uniform on [1.5 pi, 4.5 pi],
  // so E t^2 = (1.5 pi)^2 * (1 + 2 + 4/3) = 96.23 with standard deviation below 60.
  const auto roll = read_all("swiss-roll").examples;
  const double mean_square = (std::pow(1.5 * M_PI, 2) * 13 / 3 + 0.5) / (6.865 * 6.865);
  EXPECT_NEAR(roll.pow(2).sum(1).mean().item<double>(), mean_square,
              4 * 65 / (6.865 * 6.865) / std::sqrt(double(n)));
}

TEST_F(ConvertTest, SyntheticSamplesDependOnSeedSplitAndIndexAlone) {
  synthesize("swiss-roll", {{"train", 10}, {"test", 10}}, 7, options());
  const auto train = opened("train").read({3}).examples, test = opened("test").read({3}).examples;
  synthesize("swiss-roll", {{"train", 50}}, 7, options());
  EXPECT_TRUE(torch::equal(opened("train").read({3}).examples, train));
  EXPECT_FALSE(torch::equal(test, train));
  synthesize("swiss-roll", {{"train", 10}}, 8, options());
  EXPECT_FALSE(torch::equal(opened("train").read({3}).examples, train));
}

}  // namespace
}  // namespace scorenet::data
