// Each transform is a bijection of its domain whose log-slope is that of its formula; a chain adds
// them up and knows what is not there.
#include "framework/transform/transform_chain.hpp"

#include <torch/autograd.h>
#include <torch/utils.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tests/support/expect_error.hpp"

namespace scorenet::transform {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

torch::Tensor doubles(std::initializer_list<double> values) {
  return torch::tensor(std::vector<double>(values), torch::kFloat64);
}

const std::vector<int64_t> kIndices = {40, 41, 42, 43};

NetworkValues forward(const TransformChain& chain, const torch::Tensor& stored,
                      const Conditions& conditions = {}) {
  return chain.forward(stored, {"a.h5", kIndices}, conditions);
}

// The same formulas written with LibTorch, for its derivatives.
struct Case {
  std::string entry;
  torch::Tensor points;  // (3, 2), inside the domain
  std::function<torch::Tensor(const torch::Tensor&)> formula;
};

std::vector<Case> cases() {
  const auto wide = doubles({-3, -0.2, 0, 1e-3, 0.7, 40}).view({3, 2});
  const auto positive = doubles({-0.4, -0.2, 0, 1e-3, 0.7, 40}).view({3, 2});
  const auto unit = doubles({0, 1e-6, 0.2, 0.5, 0.93, 1}).view({3, 2});
  return {{"log(0.5)", positive, [](const auto& x) { return torch::log(x + 0.5); }},
          {"logit(1e-3)", unit, [](const auto& x) { return torch::logit(1e-3 + 0.998 * x); }},
          {"arcsinh(2)", wide, [](const auto& x) { return torch::asinh(x / 2); }},
          {"affine(0.5, -2)", wide, [](const auto& x) { return (x - 0.5) / -2; }},
          {" affine( 280 , 1e1 ) ", wide, [](const auto& x) { return (x - 280) / 10; }}};
}

TEST(Transform, IsItsFormulaAndItsLogSlopeIsTheFormulasDerivative) {
  for (const Case& c : cases()) {
    const TransformChain chain({c.entry});
    const auto x = c.points.clone().requires_grad_();
    const auto y = c.formula(x);
    const auto slope = torch::autograd::grad({y.sum()}, {x})[0].detach();
    const NetworkValues found = forward(chain, c.points);
    EXPECT_TRUE(torch::allclose(found.x, y.detach(), 1e-12, 1e-12)) << c.entry;
    EXPECT_TRUE(torch::allclose(found.log_det, slope.abs().log().sum(1), 1e-9, 1e-12)) << c.entry;
    EXPECT_FALSE(found.observed.defined());
  }
}

TEST(Transform, TheInverseGivesTheValuesBack) {
  for (const Case& c : cases()) {
    const TransformChain chain({c.entry});
    EXPECT_TRUE(torch::allclose(chain.inverse(forward(chain, c.points).x), c.points, 1e-12, 1e-12))
        << c.entry;
  }
}

TEST(Transform, AChainMultipliesSlopesAndIsUndoneFromItsEnd) {
  const TransformChain chain({"logit(0.01)", "affine(1, 3)", "arcsinh(1)"});
  const auto points = doubles({0.1, 0.4, 0.5, 0.9}).view({2, 2});
  const auto x = points.clone().requires_grad_();
  const auto y = torch::asinh((torch::logit(0.01 + 0.98 * x) - 1) / 3);
  const auto slope = torch::autograd::grad({y.sum()}, {x})[0].detach();
  const NetworkValues found = forward(chain, points);
  EXPECT_TRUE(torch::allclose(found.x, y.detach(), 1e-12, 1e-12));
  EXPECT_TRUE(torch::allclose(found.log_det, slope.abs().log().sum(1), 1e-9, 1e-12));
  EXPECT_TRUE(torch::allclose(chain.inverse(found.x), points, 1e-12, 1e-12));
}

TEST(Transform, StatisticsAreOfAChannelAPixelOrAll) {
  const auto x = torch::arange(16, torch::kFloat64).view({2, 2, 2, 2});
  const auto with = [&](const std::string& of, std::vector<double> mean, std::vector<double> std) {
    TransformChain chain({"standardise(" + of + ")"});
    EXPECT_EQ(chain.unmeasured(), std::vector<size_t>{0});
    EXPECT_EQ(chain.statistics_of(0, {2, 2, 2}), static_cast<int64_t>(mean.size()));
    chain.set_statistics(
        0, {torch::tensor(mean, torch::kFloat64), torch::tensor(std, torch::kFloat64)});
    EXPECT_TRUE(chain.unmeasured().empty());
    return forward(chain, x);
  };
  const auto all = with("all", {1}, {2});
  EXPECT_TRUE(torch::equal(all.x, (x - 1) / 2));
  EXPECT_NEAR(all.log_det[1].item<double>(), -8 * std::log(2), 1e-14);
  const auto mean = doubles({1, 10}).view({2, 1, 1}), std = doubles({2, 5}).view({2, 1, 1});
  const auto channel = with("channel", {1, 10}, {2, 5});
  EXPECT_TRUE(torch::equal(channel.x, (x - mean) / std));
  EXPECT_NEAR(channel.log_det[0].item<double>(), -4 * std::log(10), 1e-14);
  const auto pixel = with("pixel", {0, 1, 2, 3, 4, 5, 6, 7}, {1, 2, 1, 2, 1, 2, 1, 4});
  EXPECT_EQ(pixel.x[1][1][1][1].item<double>(), (15 - 7) / 4.0);
  EXPECT_EQ(pixel.x[0][0][0][1].item<double>(), 0);
  EXPECT_NEAR(pixel.log_det[0].item<double>(), -5 * std::log(2), 1e-14);
}

TEST(Transform, ADivisionIsByTheExamplesOwnNumbers) {
  const TransformChain chain({"divide(energy)"});
  EXPECT_TRUE(chain.needs_conditions());
  EXPECT_EQ(conditions_of({"log(1)", "divide(energy)"}), std::vector<std::string>{"energy"});
  const auto x = torch::arange(1, 9, torch::kFloat64).view({2, 4});
  const Conditions one{{"energy", doubles({2, -4}).view({2, 1})}};
  const auto by_one = forward(chain, x, one);
  EXPECT_TRUE(torch::equal(by_one.x, x / doubles({2, -4}).view({2, 1})));
  EXPECT_NEAR(by_one.log_det[1].item<double>(), -4 * std::log(4), 1e-14);
  EXPECT_TRUE(torch::equal(chain.inverse(by_one.x, one), x));
  // Two numbers: of the first and of the second half, such as layers.
  const Conditions two{{"energy", doubles({2, 3, 5, 7}).view({2, 2})}};
  EXPECT_EQ(forward(chain, x, two).x[1][1].item<double>(), 6 / 5.0);
  EXPECT_EQ(forward(chain, x, two).x[1][2].item<double>(), 7 / 7.0);
  EXPECT_ERROR(forward(chain, x), ShapeError, "divide(energy)", "condition energy");
  const Conditions zero{{"energy", doubles({2, 0}).view({2, 1})}};
  EXPECT_ERROR(forward(chain, x, zero), DataError, "sample 41", "divisors other than 0");
}

TEST(Transform, AValueOutsideTheDomainIsNamedWithSampleAndPlace) {
  const auto x = torch::ones({2, 1, 2, 3}, torch::kFloat64);
  x[1][0][1][2] = -0.5;
  EXPECT_ERROR(forward(TransformChain({"log(0.5)"}), x), DataError, "a.h5", "sample 41",
               "place (0, 1, 2)", "holds -0.5", "data.transforms[0] = \"log(0.5)\"",
               "values > -0.5");
  EXPECT_ERROR(forward(TransformChain({"affine(1.8, 2)", "log(0)"}), x + 2), DataError, "sample 41",
               "holds 1.5, -0.15 after the earlier transforms", "data.transforms[1]");
}

TEST(Transform, AFarValueMayBeOutsideOfALaterTransformAlone) {
  EXPECT_NO_THROW(
      forward(TransformChain({"affine(0, 10)", "logit(0)"}), doubles({5}).view({1, 1})));
  EXPECT_ERROR(forward(TransformChain({"logit(0)"}), doubles({1}).view({1, 1})), DataError,
               "values between -0 and 1");
  // With a > 0 the ends themselves are inside, and a little beyond them.
  EXPECT_NO_THROW(forward(TransformChain({"logit(0.01)"}), doubles({0, 1}).view({1, 2})));
}

TEST(Transform, MissingValuesAreZeroForTheNetworkAndNoDimensions) {
  const auto x = doubles({2, kNaN, 4, 8}).view({2, 2});
  const TransformChain by_nan({"log(0)"}, "nan");
  const NetworkValues found = forward(by_nan, x);
  EXPECT_TRUE(torch::equal(found.observed, torch::tensor({{true, false}, {true, true}})));
  EXPECT_EQ(found.x[0][1].item<double>(), 0);
  EXPECT_NEAR(found.log_det[0].item<double>(), -std::log(2), 1e-15);
  EXPECT_NEAR(found.log_det[1].item<double>(), -std::log(32), 1e-14);
  // A mark that float32 rounds; -9.9 is outside log's domain and does not matter.
  const auto single = torch::tensor({{2.0f, -9.9f}});
  const NetworkValues by_mark = forward(TransformChain({"log(0)"}, "-9.9"), single);
  EXPECT_TRUE(torch::equal(by_mark.observed, torch::tensor({{true, false}})));
  EXPECT_TRUE(torch::equal(single, torch::tensor({{2.0f, -9.9f}})));
  // Without transforms the stored values stay what they are.
  const auto stored = doubles({1, kNaN}).view({1, 2});
  EXPECT_EQ(forward(TransformChain({}, "nan"), stored).x[0][1].item<double>(), 0);
  EXPECT_TRUE(std::isnan(stored[0][1].item<double>()));
}

TEST(Transform, AStateIsReadBackAndAWrongOneIsRefused) {
  TransformChain first({"log(1)", "standardise(channel)"});
  first.set_statistics(1, {doubles({1, 2}), doubles({3, 4})});
  std::map<std::string, torch::Tensor> state;
  for (const auto& [name, values] : first.state()) state[name] = values;
  EXPECT_EQ(state.count("transform.1.mean"), 1u);
  TransformChain second({"log(1)", "standardise(channel)"});
  second.restore(state, {2, 4}, "s.safetensors");
  const auto x = torch::rand({2, 2, 4}, torch::kFloat64);
  EXPECT_TRUE(torch::equal(forward(first, x).x, forward(second, x).x));
  TransformChain third({"log(1)", "standardise(channel)"});
  EXPECT_ERROR(third.restore(state, {3, 4}, "s.safetensors"), CheckpointError, "s.safetensors",
               "transform.1.mean");
  state["transform.1.std"] = doubles({3, 0});
  EXPECT_ERROR(third.restore(state, {2, 4}, "s.safetensors"), CheckpointError, "transform.1.std");
}

TEST(Transform, AWrongEntryIsOneSentenceThatNamesIt) {
  const auto refused = [](const std::string& entry, const std::string& why) {
    EXPECT_ERROR(TransformChain({"log(1)", entry}), ConfigError, "data.transforms[1] = \"" + entry,
                 why);
  };
  refused("lgo(1)", "known are log(a), logit(a), arcsinh(a), affine(a, b), standardise");
  refused("", "known are log(a)");
  refused("log", "expected log(a)");
  refused("log()", "expected log(a)");
  refused("log(1, 2)", "expected log(a)");
  refused("log(one)", "\"one\" is no finite number");
  refused("log(1) log(2)", "no finite number");
  refused("logit(0.5)", "0 <= a < 0.5");
  refused("arcsinh(0)", "a > 0");
  refused("affine(1)", "expected affine(a, b)");
  refused("affine(1, 0)", "b other than 0");
  refused("standardise(row)", "expected channel, pixel or all");
  refused("divide()", "expected divide(NAME)");
  EXPECT_EQ(problems_of({"log(1)", "no(1)", "divide(energy)"}).size(), 1u);
}

}  // namespace
}  // namespace scorenet::transform
