// What networks are told beside x and the noise level: numbers and fields, given or left out.
#include "models/conditions.hpp"

#include <gtest/gtest.h>
#include <torch/utils.h>

#include "models/condition_embedding.hpp"
#include "models/make_model.hpp"
#include "models/score_network.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::models {
namespace {

using Words = std::vector<std::string>;

constexpr ConditionSizes kBoth{.numbers = 3, .channels = 2};
constexpr ConditionSizes kNumbers{.numbers = 3};

struct Network {
  std::string type;
  std::vector<int64_t> shape;
  ConditionSizes sizes;

  std::shared_ptr<ScoreNetwork> make() const {
    ModelOptions options;
    options.type = type;
    options.unet.channels = {8, 16};
    options.unet.norm_groups = 4;
    options.dit = {.width = 24, .depth = 2, .heads = 3};
    options.mlp.hidden = {16, 16};
    options.unet.conditions = options.dit.conditions = options.mlp.conditions = sizes;
    auto network = make_model(options, shape);
    // Untrained networks are 0 whatever they are told.
    const torch::NoGradGuard no_grad;
    torch::manual_seed(3);
    for (auto& parameter : network->parameters())
      parameter.add_(0.1 * torch::randn_like(parameter));
    return network;
  }
  NetworkInput input(int64_t batch) const {
    torch::manual_seed(1);
    std::vector<int64_t> full = shape;
    full.insert(full.begin(), batch);
    NetworkInput in;
    in.x = torch::randn(full);
    in.log_snr = torch::linspace(-3, 3, batch, torch::kFloat64);
    in.given.numbers = torch::randn({batch, sizes.numbers});
    if (sizes.channels == 0) return in;
    full[1] = sizes.channels;
    in.given.fields = torch::randn(full);
    return in;
  }
};

std::vector<Network> networks() {
  return {{"mlp", {4}, kNumbers},        {"unet", {2, 9}, kBoth}, {"unet", {1, 8, 6}, kBoth},
          {"unet", {1, 4, 4, 4}, kBoth}, {"dit", {2, 8}, kBoth},  {"dit", {1, 8, 6}, kBoth},
          {"dit", {1, 4, 4, 4}, kBoth}};
}

TEST(Conditions, ChangeWhatEachNetworkSaysAndTakeGradients) {
  for (const Network& n : networks()) {
    const auto network = n.make();
    NetworkInput in = n.input(3);
    in.given.numbers.requires_grad_(true);
    if (in.given.fields.defined()) in.given.fields.requires_grad_(true);
    network->forward(in).square().sum().backward();
    EXPECT_TRUE(in.given.numbers.grad().ne(0).all().item<bool>()) << n.type;
    if (in.given.fields.defined()) {
      EXPECT_TRUE(in.given.fields.grad().ne(0).any(0).all().item<bool>()) << n.type;
    }
  }
}

TEST(Conditions, AnImageThatWasNotAugmentedAddsNothing) {
  for (const char* type : {"unet", "dit"}) {
    const Network n{type, {1, 8, 6}, {.augment = 9}};
    const auto network = n.make();
    NetworkInput in = n.input(2);
    in.given = {};
    const torch::NoGradGuard no_grad;
    const auto plain = network->forward(in);
    in.given.augment = torch::zeros({2, 9});
    EXPECT_TRUE(torch::equal(network->forward(in), plain)) << type;
    in.given.augment[1][3] = -0.5;  // of the second example alone
    const auto told = network->forward(in);
    EXPECT_TRUE(torch::equal(told[0], plain[0])) << type;
    EXPECT_GT((told[1] - plain[1]).abs().max().item<double>(), 1e-4) << type;
    in.given.augment = torch::zeros({2, 8});
    EXPECT_ERROR(network->forward(in), ShapeError, "augment of shape (2, 8)", "expected (2, 9)");
  }
}

TEST(Conditions, OfOneExampleAreItsOwn) {
  for (const Network& n : networks()) {
    const torch::NoGradGuard no_grad;
    const auto network = n.make();
    const NetworkInput all = n.input(3);
    const torch::Tensor together = network->forward(all);
    const auto second = [](const torch::Tensor& t) { return t.narrow(0, 1, 1); };
    NetworkInput one;
    one.x = second(all.x);
    one.log_snr = second(all.log_snr);
    one.given = all.given.mapped(second);
    EXPECT_TRUE(torch::allclose(network->forward(one), second(together), 1e-4, 1e-5)) << n.type;
  }
}

TEST(Conditions, LeftOutAreZerosThatTheNetworkKnowsFromRealOnes) {
  for (const Network& n : networks()) {
    const torch::NoGradGuard no_grad;
    const auto network = n.make();
    NetworkInput in = n.input(2);
    in.given.told = torch::tensor({0.0F, 1.0F});
    const torch::Tensor half = network->forward(in);
    NetworkInput none = in;
    none.given = {};
    const torch::Tensor untold = network->forward(none);
    EXPECT_TRUE(torch::allclose(half[0], untold[0], 1e-5, 1e-6)) << n.type;
    EXPECT_FALSE(torch::allclose(half[1], untold[1], 1e-3, 1e-3)) << n.type;
    NetworkInput zeros = in;
    zeros.given.told = torch::ones({2});
    zeros.given.numbers = torch::zeros_like(in.given.numbers);
    if (in.given.fields.defined()) zeros.given.fields = torch::zeros_like(in.given.fields);
    EXPECT_FALSE(torch::allclose(network->forward(zeros), untold, 1e-3, 1e-3)) << n.type;
  }
}

TEST(Conditions, ThatDoNotFitAreRefused) {
  const auto x = torch::zeros({2, 1, 4, 4});
  const auto with = [](const torch::Tensor& numbers, const torch::Tensor& fields) {
    return Conditions({}, numbers, fields, {});
  };
  test::expect_error<ShapeError>([&] { completed(with(torch::zeros({2, 2}), {}), kBoth, x); },
                                 Words{"(2, 2)", "(2, 3)"});
  test::expect_error<ShapeError>([&] { completed(with({}, torch::zeros({2, 2, 2, 4})), kBoth, x); },
                                 Words{"(2, 2, 4, 4)"});
  test::expect_error<ConfigError>(
      [&] { completed(with(torch::zeros({2, 3}), {}), {.channels = 1}, x); },
      Words{"numbers", "condition.NAME"});
  ModelOptions options;
  options.type = "mlp";
  options.mlp.conditions = kBoth;
  test::expect_error<ConfigError>([&] { make_model(options, {4}); }, Words{"field", "mlp"});
}

}  // namespace
}  // namespace scorenet::models
