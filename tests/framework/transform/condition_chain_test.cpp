#include "framework/transform/condition_chain.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "tests/support/expect_error.hpp"

namespace scorenet::transform {
namespace {

using Words = std::vector<std::string>;

const std::vector<int64_t> kIndices = {4, 9};
const Source kSource{"a.h5, dataset \"/c\"", kIndices};

TEST(ConditionChain, AngleGivesCosinesThenSinesBehindTheOtherTransforms) {
  const ConditionChain chain({"affine(2, 1)", "angle(24)"}, "", "condition.hour.transforms");
  EXPECT_EQ(chain.width(2), 4);
  const auto hours = torch::tensor({{2.0, 8.0}, {14.0, 26.0}}, torch::kFloat64);
  const auto told = chain.forward(hours, kSource);
  const auto expected =
      torch::tensor({{1.0, 0.0, 0.0, 1.0}, {-1.0, 1.0, 0.0, 0.0}}, torch::kFloat64);
  EXPECT_TRUE(torch::allclose(told, expected, 0, 1e-12)) << told;
  // A field's angles are further channels.
  const auto field = chain.forward(torch::zeros({2, 3, 5}), kSource);
  EXPECT_EQ(field.sizes(), (c10::IntArrayRef{2, 6, 5}));
  EXPECT_NEAR(field[0][0][0].item<double>(), std::cos(-2 * std::numbers::pi / 12), 1e-6);
}

TEST(ConditionChain, NamesTheSampleOfAValueThatNoTransformTakes) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const ConditionChain plain({}, "", "condition.c.transforms");
  test::expect_error<DataError>(
      [&] { plain.forward(torch::tensor({{1.0}, {nan}}, torch::kFloat64), kSource); },
      Words{"a.h5", "sample 9", "NaN"});
  const ConditionChain logs({"log(0)"}, "", "condition.c.transforms");
  test::expect_error<DataError>(
      [&] { logs.forward(torch::tensor({{-1.0}, {2.0}}, torch::kFloat64), kSource); },
      Words{"sample 4", "-1", "condition.c.transforms[0]"});
  // What is marked as missing is 0.
  const ConditionChain holed({}, "nan", "condition.c.transforms");
  const auto values = holed.forward(torch::tensor({{1.0}, {nan}}, torch::kFloat64), kSource);
  EXPECT_EQ(values[1][0].item<double>(), 0);
}

TEST(ConditionChain, TellsEveryProblemOfItsEntries) {
  const auto first = [](const std::vector<std::string>& entries) {
    const auto all = condition_problems(entries, "condition.c.transforms");
    return all.empty() ? std::string() : all.front();
  };
  EXPECT_EQ(first({"log(1)", "angle(12)"}), "");
  EXPECT_NE(first({"angle(0)"}).find("condition.c.transforms[0] = \"angle(0)\""),
            std::string::npos);
  EXPECT_NE(first({"angle(a)"}).find("period above 0"), std::string::npos);
  EXPECT_NE(first({"angle(12)", "log(1)"}).find("unknown transform"), std::string::npos);
  EXPECT_NE(first({"divide(energy)"}).find("data.transforms"), std::string::npos);
}

}  // namespace
}  // namespace scorenet::transform
