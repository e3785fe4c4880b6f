// Flat buffers and the optimiser on them, against LibTorch's own per-tensor optimiser.
#include "framework/optim/adamw.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>

#include "framework/core/error.hpp"

namespace scorenet::optim {
namespace {

using testing::HasSubstr;

torch::nn::Sequential two_layers() {
  torch::manual_seed(3);
  torch::nn::Sequential net(torch::nn::Linear(5, 7), torch::nn::Linear(7, 3));
  return net;
}

torch::Tensor loss_of(torch::nn::Sequential& net, int step) {
  const auto x = torch::arange(20, torch::kFloat32).view({4, 5}).add(step).sin();
  return net->forward(x).square().mean() * 10;
}

TEST(FlatParameters, WeightsBecomeViewsAndKeepTheirValues) {
  auto net = two_layers();
  std::vector<torch::Tensor> before;
  for (const auto& p : net->parameters()) before.push_back(p.detach().clone());
  FlatParameters flat(*net);
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(torch::equal(net->parameters()[i], before[i]));
    EXPECT_TRUE(net->parameters()[i].is_alias_of(flat.values()));
  }
  // Writing the buffer writes the weights.
  flat.values().fill_(2.0);
  EXPECT_TRUE(net->parameters()[0].eq(2).all().item<bool>());
}

TEST(FlatParameters, LaterRegisteredComesFirstAndStartsOnACacheLine) {
  auto net = two_layers();
  const FlatParameters flat(*net);
  // Registered: 0.weight (35), 0.bias (7), 1.weight (21), 1.bias (3); reversed and padded to 16:
  // 3 -> 16, 21 -> 32, 7 -> 16, 35 -> 48.
  EXPECT_EQ(flat.names(), (std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias"}));
  EXPECT_EQ(flat.layout().offsets, (std::vector<int64_t>{64, 48, 16, 0}));
  EXPECT_EQ(flat.layout().sizes, (std::vector<int64_t>{35, 7, 21, 3}));
  EXPECT_EQ(flat.layout().total, 112);
}

TEST(FlatParameters, BackwardAccumulatesIntoTheFlatGradient) {
  auto net = two_layers();
  FlatParameters flat(*net);
  const void* address = net->parameters()[0].grad().data_ptr();
  auto reference = two_layers();
  loss_of(reference, 0).backward();
  loss_of(net, 0).backward();
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(torch::equal(flat.view_of(flat.gradients(), i), reference->parameters()[i].grad()));
  }
  loss_of(net, 0).backward();
  EXPECT_TRUE(
      torch::allclose(flat.view_of(flat.gradients(), 0), 2 * reference->parameters()[0].grad()));
  EXPECT_EQ(net->parameters()[0].grad().data_ptr(), address);
  flat.zero_gradients();
  EXPECT_EQ(net->parameters()[0].grad().abs().sum().item<float>(), 0.0f);
}

TEST(FlatParameters, AGradientThatLeftTheBufferIsNamed) {
  auto net = two_layers();
  FlatParameters flat(*net);
  EXPECT_NO_THROW(flat.check_views());
  net->parameters()[2].mutable_grad() = torch::zeros({3, 7});
  try {
    flat.check_views();
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_THAT(e.what(), HasSubstr("1.weight"));
  }
}

TEST(FlatParameters, AParameterOfAnotherDtypeIsNamed) {
  auto net = two_layers();
  net[1]->to(torch::kFloat64);
  try {
    FlatParameters flat(*net);
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), HasSubstr("1.weight"));
  }
  torch::nn::Sequential empty;
  EXPECT_THROW(FlatParameters{*empty}, ConfigError);
}

// Ten steps of both optimisers on the same loss. decay: of weight matrices only, as ours.
void expect_agreement(double decay, double clip, double gradient_scale) {
  auto ours = two_layers(), theirs = two_layers();
  FlatParameters flat(*ours);
  AdamW adamw(flat, {.beta1 = 0.9, .beta2 = 0.95, .weight_decay = decay, .clip_norm = clip});
  const auto p = theirs->parameters();
  auto options = torch::optim::AdamWOptions(1e-2).betas({0.9, 0.95});
  torch::optim::AdamW reference(
      {torch::optim::OptimizerParamGroup(
           {p[0], p[2]}, std::make_unique<torch::optim::AdamWOptions>(options.weight_decay(decay))),
       torch::optim::OptimizerParamGroup(
           {p[1], p[3]}, std::make_unique<torch::optim::AdamWOptions>(options.weight_decay(0.0)))},
      options);
  for (int step = 0; step < 10; ++step) {
    flat.zero_gradients();
    (loss_of(ours, step) / gradient_scale).backward();
    const double norm = adamw.gradient_norm(gradient_scale);
    adamw.step(1e-2, norm, gradient_scale);
    reference.zero_grad();
    loss_of(theirs, step).backward();
    if (clip > 0) {
      EXPECT_NEAR(torch::nn::utils::clip_grad_norm_(p, clip), norm, 1e-5 * norm);
    }
    reference.step();
  }
  EXPECT_EQ(adamw.steps_taken(), 10);
  // Weights are below 1 and each step rounds twice: 10 * 2^-23 = 1.2e-6 bounds it; 3e-7 is what is
  // left of it.
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_LT((ours->parameters()[i] - p[i]).abs().max().item<double>(), 3e-7) << i;
  }
}

TEST(AdamW, AgreesWithLibTorchsPerTensorOptimiser) { expect_agreement(0.0, 0.0, 1.0); }
TEST(AdamW, DecaysMatricesButNotBiases) { expect_agreement(0.5, 0.0, 1.0); }
TEST(AdamW, ClipsByTheGlobalNorm) { expect_agreement(0.0, 0.3, 1.0); }
TEST(AdamW, UndoesAScaleOfTheGradients) { expect_agreement(0.1, 0.3, 8.0); }

// The two ways of one step: decided on the host, and by numbers on the device.
TEST(AdamW, DecidedOnTheDeviceAStepIsTheHosts) {
  for (const AdamWOptions& options :
       {AdamWOptions{}, AdamWOptions{.weight_decay = 0.5, .clip_norm = 0.01},
        AdamWOptions{.clip_norm = 0}}) {
    auto net = two_layers(), other = two_layers();
    FlatParameters host(*net), device(*other);
    AdamW by_host(whole_target(host), options), by_device(whole_target(device), options);
    for (int k = 0; k < 5; ++k) {
      host.zero_gradients();
      device.zero_gradients();
      loss_of(net, k).backward();
      loss_of(other, k).backward();
      by_host.step(0.01, by_host.gradient_norm());
      by_device.step({torch::tensor(0.01f), by_device.gradient_norm_on_device(), torch::ones({})});
    }
    EXPECT_TRUE(torch::allclose(host.values(), device.values(), 1e-5, 1e-7));
    EXPECT_EQ(by_device.steps_taken(), 5);
  }
}

TEST(AdamW, TheDeviceUndoesAScaleOfTheGradientsToo) {
  constexpr double kScale = 65536;  // of the loss
  for (const double clip_norm : {0.0, 0.01}) {
    auto net = two_layers(), other = two_layers();
    FlatParameters plain(*net), scaled(*other);
    const AdamWOptions options{.clip_norm = clip_norm};
    AdamW without(whole_target(plain), options), with(whole_target(scaled), options);
    loss_of(net, 0).backward();
    (kScale * loss_of(other, 0)).backward();
    without.step({torch::tensor(0.01f), without.gradient_norm_on_device(), torch::ones({}), {}});
    with.step({torch::tensor(0.01f), with.gradient_norm_on_device() / kScale, torch::ones({}),
               torch::full({}, 1 / kScale, torch::kFloat64)});
    EXPECT_TRUE(torch::equal(plain.values(), scaled.values())) << clip_norm;
  }
}

TEST(AdamW, AStepThatMustNotHappenChangesNoBitOnTheDevice) {
  auto net = two_layers();
  FlatParameters flat(*net);
  AdamW adamw(whole_target(flat), {.weight_decay = 0.5});
  loss_of(net, 0).backward();
  adamw.step(0.01, adamw.gradient_norm());
  std::vector<torch::Tensor> before{flat.values().clone()};
  for (const auto& [name, tensor] : adamw.state()) before.push_back(tensor.clone());
  flat.gradients().fill_(std::nanf(""));
  adamw.step({torch::tensor(0.01f), adamw.gradient_norm_on_device(), torch::zeros({})});
  EXPECT_TRUE(torch::equal(flat.values(), before[0]));
  for (size_t i = 0; i < adamw.state().size(); ++i)
    EXPECT_TRUE(torch::equal(adamw.state()[i].second, before[i + 1])) << adamw.state()[i].first;
}

TEST(AdamW, GoesOnFromASavedStateBitForBit) {
  auto a = two_layers(), b = two_layers();
  FlatParameters flat_a(*a), flat_b(*b);
  AdamW first(flat_a, {}), second(flat_b, {});
  const auto run = [](torch::nn::Sequential& net, FlatParameters& flat, AdamW& adamw, int from) {
    for (int step = from; step < from + 3; ++step) {
      flat.zero_gradients();
      loss_of(net, step).backward();
      adamw.step(1e-2, adamw.gradient_norm());
    }
  };
  run(a, flat_a, first, 0);
  flat_b.values().copy_(flat_a.values());
  for (size_t i = 0; i < first.state().size(); ++i) {
    EXPECT_EQ(first.state()[i].first, second.state()[i].first);
    second.state()[i].second.copy_(first.state()[i].second);
  }
  run(a, flat_a, first, 3);
  run(b, flat_b, second, 3);
  EXPECT_TRUE(torch::equal(flat_a.values(), flat_b.values()));
}

TEST(AdamW, AnOptionOutOfRangeIsNamed) {
  auto net = two_layers();
  FlatParameters flat(*net);
  const auto message = [&](const AdamWOptions& options) -> std::string {
    try {
      AdamW adamw(flat, options);
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message({.beta1 = 1.5}), HasSubstr("train.beta1 = 1.5"));
  EXPECT_THAT(message({.beta2 = -0.5}), HasSubstr("train.beta2 = -0.5"));
  EXPECT_THAT(message({.eps = 0}), HasSubstr("train.adam_eps = 0"));
  EXPECT_THAT(message({.weight_decay = -1}), HasSubstr("train.weight_decay = -1"));
  EXPECT_THAT(message({.clip_norm = -1}), HasSubstr("train.clip_norm = -1"));
}

TEST(AdamW, OnPartsOfTheBuffersEqualsOnTheWhole) {
  // What sharding rests on: the update is element by element, given the norm of all gradients.
  auto net = two_layers(), other = two_layers();
  FlatParameters whole(*net), parted(*other);
  AdamW one(whole, {0.9, 0.99, 1e-8, 0.1, 0.5});
  std::vector<AdamW> two;
  for (const auto& [first, count] : {std::pair{0, 48}, std::pair{48, 64}}) {
    AdamWTarget target{
        parted.values().narrow(0, first, count), parted.gradients().narrow(0, first, count), {}};
    for (size_t i = 0; i < 4; ++i) {
      const bool inside =
          parted.layout().offsets[i] >= first && parted.layout().offsets[i] < first + count;
      if (inside && decays(parted.parameters()[i]))
        target.decayed.push_back(parted.view_of(parted.values(), i));
    }
    two.emplace_back(target, AdamWOptions{0.9, 0.99, 1e-8, 0.1, 0.5});
  }
  for (int step = 0; step < 5; ++step) {
    whole.zero_gradients();
    parted.zero_gradients();
    loss_of(net, step).backward();
    loss_of(other, step).backward();
    const double norm = one.gradient_norm();
    EXPECT_NEAR(std::hypot(two[0].gradient_norm(), two[1].gradient_norm()), norm, 1e-6 * norm);
    one.step(0.01, norm);
    for (AdamW& part : two) part.step(0.01, norm);
    // Vectorised loops round their tails in another way: an ulp or so of weights of order one.
    EXPECT_TRUE(torch::allclose(parted.values(), whole.values(), 0, 1e-6));
  }
}

TEST(FlatParameters, ALayoutOfOthersIsRefused) {
  auto net = two_layers();
  EXPECT_THROW(FlatParameters(named_parameters(*net), reduce::make_flat_layout({35, 7})),
               ShapeError);
  const auto given = reduce::make_flat_layout({35, 7, 21, 3}, {1, 0, 2, 3}, 16);
  const FlatParameters flat(named_parameters(*net), given);
  EXPECT_EQ(flat.layout().offsets, given.offsets);
  EXPECT_EQ(flat.view_of(flat.values(), 1).data_ptr(), flat.values().data_ptr());
}

}  // namespace
}  // namespace scorenet::optim
