// What every network promises: shapes, exact gradients, dropout and weights that are functions
// of their addresses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/core/error.hpp"
#include "models/autocast.hpp"
#include "models/classifier.hpp"
#include "models/dit.hpp"
#include "models/flops.hpp"
#include "models/make_model.hpp"
#include "models/unet.hpp"
#include "tests/support/noise.hpp"

namespace scorenet::models {
namespace {

using test::noise;
using test::perturb;
using testing::HasSubstr;

struct Case {
  std::string type;
  std::vector<int64_t> shape;  // of an example
};

ModelOptions options_of(const std::string& type, double dropout = 0.0, int64_t classes = 0) {
  ModelOptions o;
  o.type = type;
  o.seed = 11;
  o.unet = {.channels = {4, 8},
            .attention = {false, true},
            .attention_head_dim = 4,
            .norm_groups = 2,
            .dropout = dropout,
            .num_classes = classes};
  o.mlp = {.hidden = {8, 8}, .residual = true, .dropout = dropout, .num_classes = classes};
  o.dit = {.patch_size = 2,
           .width = 8,
           .depth = 2,
           .heads = 2,
           .mlp_ratio = 2,
           .dropout = dropout,
           .num_classes = classes};
  return o;
}

NetworkInput batch(int64_t first, int64_t count, c10::IntArrayRef shape) {
  NetworkInput input;
  input.x = noise(0, count, shape, first);
  input.log_snr = torch::arange(first, first + count, torch::kFloat64) - 2;
  return input;
}

class AnyNetwork : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, AnyNetwork,
                         testing::Values(Case{"unet", {2, 4, 6}}, Case{"unet", {2, 5}},
                                         Case{"unet", {1, 2, 3, 4}}, Case{"dit", {2, 5, 4}},
                                         Case{"dit", {2, 7}}, Case{"dit", {1, 2, 3, 4}},
                                         Case{"mlp", {3}}),
                         [](const auto& item) {
                           return item.param.type + std::to_string(item.param.shape.size() - 1);
                         });

TEST_P(AnyNetwork, ReturnsItsInputsShapeAndDtype) {
  const auto net = make_model(options_of(GetParam().type), GetParam().shape);
  for (const int64_t count : {1, 3}) {
    auto input = batch(0, count, GetParam().shape);
    input.x = input.x.to(torch::kFloat32);
    EXPECT_EQ(net->forward(input).sizes(), input.x.sizes());
    const AutocastScope scope(torch::kBFloat16);
    EXPECT_EQ(net->forward(input).scalar_type(), torch::kFloat32);
  }
}

TEST_P(AnyNetwork, HasTheGradientOfItsCentralDifferences) {
  const auto net = make_model(options_of(GetParam().type, 0.0, 3), GetParam().shape);
  net->to(torch::kFloat64);
  perturb(*net);
  auto input = batch(0, 2, GetParam().shape);
  input.given.labels = torch::tensor({1, 3}, torch::kInt64);
  const auto weights = noise(1, 2, GetParam().shape);
  const auto loss = [&] { return (net->forward(input) * weights).sum(); };
  loss().backward();
  const double h = 1e-5;
  uint64_t step = 1000;
  const torch::NoGradGuard no_grad;
  for (auto& item : net->named_parameters()) {
    auto& p = item.value();
    const auto direction = noise(step++, 1, p.sizes())[0];
    const double exact = (p.grad() * direction).sum().item<double>();
    p += h * direction;
    const double up = loss().item<double>();
    p -= 2 * h * direction;
    const double down = loss().item<double>();
    p += h * direction;
    // Truncation h^2 times third derivatives and rounding 1e-16 / h, on values of order 10.
    EXPECT_NEAR((up - down) / (2 * h), exact, 1e-6 * (1 + std::abs(exact))) << item.key();
  }
}

TEST_P(AnyNetwork, GivesAnExampleTheSameResultInAnyBatch) {
  const auto net = make_model(options_of(GetParam().type), GetParam().shape);
  net->to(torch::kFloat64);
  perturb(*net);
  const auto together = net->forward(batch(0, 4, GetParam().shape));
  const auto apart = net->forward(batch(2, 2, GetParam().shape));
  EXPECT_TRUE(torch::allclose(together.narrow(0, 2, 2), apart, 1e-10, 1e-10));
}

TEST_P(AnyNetwork, DropsOutByTheExamplesSlotAlone) {
  const auto net = make_model(options_of(GetParam().type, 0.3), GetParam().shape);
  net->to(torch::kFloat64);
  perturb(*net);
  const auto run = [&](int64_t first, int64_t count, uint64_t step) {
    const BatchSlots slots{{9, RandomStream::dropout, step}, slot_range(first, count)};
    auto input = batch(first, count, GetParam().shape);
    input.dropout = &slots;
    return net->forward(input);
  };
  const auto together = run(0, 4, 7);
  EXPECT_TRUE(torch::allclose(together, torch::cat({run(0, 1, 7), run(1, 3, 7)}), 1e-10, 1e-10));
  EXPECT_FALSE(torch::allclose(together, run(0, 4, 8)));
  EXPECT_FALSE(torch::allclose(together, net->forward(batch(0, 4, GetParam().shape))));
}

TEST_P(AnyNetwork, StartsFromWeightsThatItsSeedDecides) {
  auto options = options_of(GetParam().type);
  const auto a = make_model(options, GetParam().shape), b = make_model(options, GetParam().shape);
  options.seed = 12;
  const auto c = make_model(options, GetParam().shape);
  bool differs = false;
  for (size_t i = 0; i < a->parameters().size(); ++i) {
    EXPECT_TRUE(torch::equal(a->parameters()[i], b->parameters()[i]));
    differs = differs || !torch::equal(a->parameters()[i], c->parameters()[i]);
  }
  EXPECT_TRUE(differs);
}

TEST_P(AnyNetwork, NamesTheShapeThatDoesNotFit) {
  const auto net = make_model(options_of(GetParam().type), GetParam().shape);
  NetworkInput wrong = batch(0, 2, {7, 3, 3});
  try {
    net->forward(wrong);
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_THAT(e.what(), HasSubstr("(2, 7, 3, 3)"));
  }
  EXPECT_THROW(make_model(options_of(GetParam().type), {2, 2, 2, 2, 2}), ShapeError);
  auto labelled = batch(0, 2, GetParam().shape);
  labelled.x = labelled.x.to(torch::kFloat32);
  labelled.given.labels = torch::zeros({2}, torch::kInt64);
  EXPECT_THROW(net->forward(labelled), ConfigError);
}

TEST(MakeModel, ListsTheNetworksWhenANameIsUnknown) {
  try {
    make_model(options_of("unte"), {1, 4, 4});
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), testing::AllOf(HasSubstr("unte"), HasSubstr("unet, dit, mlp")));
  }
  EXPECT_THAT(model_names(), testing::ElementsAre("unet", "dit", "mlp"));
}

TEST(Initialise, XavierWeightsHaveTheVarianceOfTheirFans) {
  ModelOptions options;
  options.unet.channels = {32, 64};
  const auto net = make_model(options, {1, 8, 8});
  // A 3x3 kernel from 32 to 32 channels: variance 2 / (9 (32 + 32)); 9216 draws of a uniform law
  // have a relative standard error of sqrt(0.8 / 9216) = 0.9 % in their variance.
  const auto w = net->named_parameters()["down_blocks.0.resnets.0.conv1.weight"];
  EXPECT_NEAR(w.var().item<double>() / (2.0 / (9 * 64)), 1.0, 4 * 0.0094);
  EXPECT_EQ(net->named_parameters()["conv_in.bias"].abs().max().item<float>(), 0.0f);
  EXPECT_TRUE(net->named_parameters()["conv_norm_out.weight"].eq(1).all().item<bool>());
}

TEST(Initialise, LeCunWeightsHaveTheVarianceOfTheirFanIn) {
  ModelOptions options;
  options.type = "mlp";
  const auto net = make_model(options, {2});
  // 128 inputs; 16384 normal draws: relative standard error of the variance
  // sqrt(2 / 16384) = 1.1 %.
  const auto w = net->named_parameters()["hidden.1.weight"];
  EXPECT_NEAR(w.var().item<double>() * 128, 1.0, 4 * 0.011);
}

TEST(Flops, AreThoseOfTheLayersCountedByHand) {
  ModelOptions options;
  options.type = "mlp";
  options.mlp = {.hidden = {16, 32}, .time_embedding = "scalar"};
  const auto net = make_model(options, {2});
  // Layers 3 -> 16 -> 32 -> 2: multiply-adds 48 + 512 + 64, two operations each; weights the same
  // plus biases 50.
  EXPECT_EQ(forward_flops(*net, {2}), 2 * (48 + 512 + 64));
  EXPECT_EQ(parameter_count(*net), 48 + 512 + 64 + 50);
  // One 3x3 convolution from 2 to 4 channels on 5x6 pixels; two products of attention with 7
  // tokens, 3 heads of 8.
  const auto conv = [] {
    torch::conv2d(torch::zeros({1, 2, 5, 6}), torch::zeros({4, 2, 3, 3}), {}, 1, 1);
  };
  EXPECT_EQ(count_flops(conv), 2.0 * 30 * 4 * 2 * 9);
  const auto q = torch::zeros({1, 3, 7, 8});
  EXPECT_EQ(count_flops([&] { at::scaled_dot_product_attention(q, q, q); }),
            2.0 * 2 * 3 * 7 * 7 * 8);
}

TEST(DiT, PutsEveryPatchBackWhereItWas) {
  // With blocks that start as the identity and an output layer that copies the centre of each
  // normed token, changing one patch of the input changes no other patch of the output.
  auto options = options_of("dit");
  const auto net = make_model(options, {1, 6, 8});
  const torch::NoGradGuard no_grad;
  net->named_parameters()["final.weight"].copy_(torch::eye(4, 8));
  NetworkInput a;
  a.x = noise(3, 1, {1, 6, 8}).to(torch::kFloat32);
  a.log_snr = torch::zeros({1});
  auto b = a;
  b.x = a.x.clone();
  b.x.slice(2, 2, 4).slice(3, 4, 6) += 1;  // row 1, column 2 of the patches
  const auto change = (net->forward(a) - net->forward(b)).abs()[0][0];
  const auto mask = torch::zeros({6, 8}, torch::kBool);
  mask.slice(0, 2, 4).slice(1, 4, 6).fill_(true);
  EXPECT_EQ(change.masked_select(~mask).max().item<float>(), 0.0f);
  EXPECT_GT(change.masked_select(mask).max().item<float>(), 1e-3f);
}

TEST(DiT, AnOptionThatDoesNotFitIsNamed) {
  const auto message = [](const DiTOptions& o) -> std::string {
    try {
      DiT net(o, 1);
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message({.patch_size = 0}), HasSubstr("model.patch_size = 0"));
  EXPECT_THAT(message({.width = 10, .heads = 2}), HasSubstr("model.width = 10"));
  EXPECT_THAT(message({.width = 12, .heads = 5}), HasSubstr("model.heads = 5"));
  EXPECT_THAT(message({.depth = 0}), HasSubstr("model.depth = 0"));
  EXPECT_THAT(message({.mlp_ratio = 0}), HasSubstr("model.mlp_ratio = 0"));
  EXPECT_THAT(message({.dropout = 1.5}), HasSubstr("model.dropout = 1.5"));
  EXPECT_THAT(message({.num_classes = -2}), HasSubstr("model.num_classes = -2"));
}

TEST(MLP, AnOptionThatDoesNotFitIsNamed) {
  const auto message = [](const MLPOptions& o) -> std::string {
    try {
      MLP net(o, 2);
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message({.hidden = {}}), HasSubstr("model.hidden"));
  EXPECT_THAT(message({.hidden = {4, 0}}), HasSubstr("(4, 0)"));
  EXPECT_THAT(message({.dropout = -0.5}), HasSubstr("model.dropout = -0.5"));
  EXPECT_THAT(message({.num_classes = -2}), HasSubstr("model.num_classes = -2"));
  EXPECT_THAT(message({.time_embedding = "no"}), HasSubstr("\"no\""));
}

TEST(Classifier, FindsAllClassesEquallyLikelyAtFirstAndLearnsToTellThem) {
  ClassifierOptions options;
  options.encoder = options_of("unet").unet;
  options.num_classes = 2;
  auto net = make_classifier(options, {1, 6, 6});
  NetworkInput input;
  input.x = torch::cat({torch::ones({4, 1, 6, 6}), -torch::ones({4, 1, 6, 6})}) +
            0.1 * noise(2, 8, {1, 6, 6}).to(torch::kFloat32);
  input.log_snr = torch::zeros({8});
  const auto labels = torch::tensor({0, 0, 0, 0, 1, 1, 1, 1}, torch::kInt64);
  const auto loss = [&] { return torch::cross_entropy_loss(net->forward(input), labels); };
  EXPECT_EQ(net->forward(input).sizes(), (std::vector<int64_t>{8, 2}));
  EXPECT_NEAR(loss().item<double>(), std::log(2.0), 1e-6);
  for (int step = 0; step < 60; ++step) {
    net->zero_grad();
    loss().backward();
    const torch::NoGradGuard no_grad;
    for (auto& p : net->parameters()) {
      if (p.grad().defined()) p -= 0.1 * p.grad();
    }
  }
  EXPECT_LT(loss().item<double>(), 0.3);
}

TEST(Classifier, AnOptionThatDoesNotFitIsNamed) {
  ClassifierOptions options;
  options.num_classes = 1;
  const auto message = [&](std::vector<int64_t> shape) -> std::string {
    try {
      make_classifier(options, shape);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message({1, 8, 8}), HasSubstr("model.num_classes = 1"));
  options.num_classes = 10;
  EXPECT_THAT(message({8, 8, 8, 8, 8}), HasSubstr("(8, 8, 8, 8, 8)"));
  options.mlp.hidden = {};
  EXPECT_THAT(message({8}), HasSubstr("model.hidden"));
}

TEST(Classifier, ItsLastLayerReadsTheFeatures) {
  // Logits are an affine function of the features: with a head of zeros (as it starts) they are its
  // bias, zero, whatever x.
  ClassifierOptions options;
  options.encoder = options_of("unet").unet;
  options.mlp.hidden = {7, 5};
  options.num_classes = 3;
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{1, 6, 6}, {2}}) {
    auto net = make_classifier(options, shape);
    NetworkInput input;
    input.x = noise(2, 4, shape).to(torch::kFloat32);
    input.log_snr = torch::zeros({4});
    EXPECT_TRUE(torch::equal(net->forward(input), torch::zeros({4, 3})));
    const auto features = net->features(input);
    EXPECT_EQ(features.size(1), shape.size() == 1 ? 5 : options.encoder.channels.back());
    const auto weight =
        net->named_parameters()[shape.size() == 1 ? "mlp.out.weight" : "head.weight"];
    {
      const torch::NoGradGuard no_grad;
      weight.fill_(0.5);
    }
    EXPECT_TRUE(torch::allclose(net->forward(input), torch::matmul(features, weight.t())));
  }
}

TEST(Networks, ALearnedVarianceIsASecondTensorBehindTheFirst) {
  for (const auto& [type, shape] : std::map<std::string, std::vector<int64_t>>{
           {"unet", {1, 6, 6}}, {"dit", {2, 6, 6}}, {"mlp", {3}}}) {
    ModelOptions options = options_of(type);
    options.unet.learned_variance = options.dit.learned_variance = true;
    options.mlp.learned_variance = true;
    NetworkInput input;
    input.x = noise(2, 4, shape).to(torch::kFloat32);
    input.log_snr = torch::zeros({4});
    auto expected = input.x.sizes().vec();
    expected[1] *= 2;
    EXPECT_EQ(make_model(options, shape)->forward(input).sizes(), expected) << type;
  }
}

}  // namespace
}  // namespace scorenet::models
