// The U-Net against diffusers' UNet2DModel, and what is its own: sizes, labels, options.
#include "models/unet.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>

#include "framework/core/error.hpp"
#include "models/make_model.hpp"

namespace scorenet::models {
namespace {

using testing::HasSubstr;

UNetOptions small() {
  return {.channels = {8, 16},
          .layers_per_block = 1,
          .attention = {false, true},
          .attention_head_dim = 4,
          .norm_groups = 4};
}

std::string read(const std::string& name) {
  std::ifstream file(std::string(TEST_DATA) + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Names with shapes, sorted, as data/make_unet2d_reference.py writes them.
std::string parameter_list(const torch::nn::Module& module) {
  std::vector<std::string> lines;
  for (const auto& item : module.named_parameters()) {
    std::string line = item.key();
    for (const int64_t n : item.value().sizes()) line += " " + std::to_string(n);
    lines.push_back(line + "\n");
  }
  std::sort(lines.begin(), lines.end());
  return std::accumulate(lines.begin(), lines.end(), std::string());
}

// The weights of data/make_unet2d_reference.py: 0.1 sin(1 + 0.1 k + 0.7 i), norm scales plus one.
void set_formula_weights(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (auto& item : module.named_parameters()) {
    int k = 0;
    for (const char c : item.key()) k += static_cast<unsigned char>(c);
    auto& p = item.value();
    auto values =
        0.1 * (1 + 0.1 * (k % 97) + 0.7 * torch::arange(p.numel(), torch::kFloat64)).sin();
    if (p.dim() == 1 && item.key().ends_with("weight")) values += 1;
    p.copy_(values.view(p.sizes()));
  }
}

void expect_diffusers_output(const std::string& tag, const UNetOptions& options,
                             const torch::Tensor& labels) {
  UNet net(options, 2);
  EXPECT_EQ(parameter_list(*net), read("unet2d_" + tag + "_parameters.txt"));
  set_formula_weights(*net);
  NetworkInput input;
  input.x = (0.3 * torch::arange(2 * 2 * 6 * 10, torch::kFloat64))
                .sin()
                .view({2, 2, 6, 10})
                .to(torch::kFloat32);
  input.log_snr = 20 - torch::tensor({3.0, 250.0}, torch::kFloat64) / 25;  // coordinates 3 and 250
  input.given.labels = labels;
  const torch::NoGradGuard no_grad;
  const auto y = net->forward(input).flatten();
  std::istringstream numbers(read("unet2d_" + tag + "_output.txt"));
  // Outputs are of order 1 and pass some 50 float32 layers: 2e-5 is a few hundred roundings.
  for (int64_t i = 0; i < y.numel(); ++i) {
    double expected = NAN;
    numbers >> expected;
    ASSERT_NEAR(y[i].item<double>(), expected, 2e-5) << tag << " " << i;
  }
}

TEST(UNet, HasTheNamesShapesAndOutputsOfDiffusersUNet2DModel) {
  auto options = small();
  options.num_classes = 3;  // and one row for "no label"
  expect_diffusers_output("default", options, torch::tensor({1, 3}, torch::kInt64));
}

TEST(UNet, FollowsTheChoicesOfTheOriginalDDPMWeights) {
  auto options = small();
  options.attention_head_dim = 0;
  options.downsample_padding = 0;
  options.cosines_first = false;
  options.freq_shift = 1;
  options.norm_eps = 1e-6;
  expect_diffusers_output("ddpm", options, {});
}

UNetOptions adm() {
  auto options = small();
  options.num_classes = 3;
  options.scale_shift = true;
  options.residual_resampling = {true, true};
  options.mid_norm_groups = 0;
  return options;
}

TEST(UNet, HasTheBlocksOfADM) {
  const auto labels = torch::tensor({1, 3}, torch::kInt64);
  auto options = adm();
  expect_diffusers_output("adm", options, labels);
  options.mid_norm_groups = 8;
  expect_diffusers_output("adm_norm", options, labels);
}

TEST(UNet, MayDoWithoutAttentionInTheMiddle) {
  auto options = small();
  options.mid_attention = false;
  expect_diffusers_output("no_middle", options, {});
}

NetworkInput input_of(std::vector<int64_t> shape) {
  NetworkInput input;
  input.x = normal_for_slots({1, RandomStream::synthetic_data, 0}, slot_range(0, shape[0]),
                             c10::IntArrayRef(shape).slice(1), torch::kFloat32);
  input.log_snr = torch::linspace(-3, 5, shape[0], torch::kFloat64);
  return input;
}

TEST(UNet, TakesImagesOfAnySizeAndAnyNumber) {
  const torch::NoGradGuard no_grad;
  auto options = small();
  options.channels = {8, 16, 16};
  options.attention = {false, false, true};
  for (const auto& shape : std::vector<std::vector<int64_t>>{
           {2, 1, 28, 28}, {1, 3, 32, 32}, {2, 3, 27, 31}, {1, 1, 1, 1}, {3, 2, 5, 4}}) {
    UNet net(options, shape[1]);
    set_formula_weights(*net);
    const auto y = net->forward(input_of(shape));
    EXPECT_EQ(y.sizes(), shape);
    EXPECT_TRUE(y.isfinite().all().item<bool>());
  }
}

TEST(UNet, AnOddImageIsTheCornerOfAPaddedOne) {
  const torch::NoGradGuard no_grad;
  UNet net(small(), 1);
  set_formula_weights(*net);
  auto odd = input_of({2, 1, 5, 7});
  auto even = odd;
  even.x = torch::constant_pad_nd(odd.x, {0, 1, 0, 1});
  EXPECT_TRUE(torch::equal(net->forward(odd), net->forward(even).slice(2, 0, 5).slice(3, 0, 7)));
}

TEST(UNet, ADMsBlocksTakeSeriesVolumesAndOddImages) {
  const torch::NoGradGuard no_grad;
  for (const auto& shape :
       std::vector<std::vector<int64_t>>{{2, 1, 7}, {2, 1, 5, 7}, {1, 1, 3, 4, 5}}) {
    UNet net(adm(), 1, static_cast<int64_t>(shape.size()) - 2);
    set_formula_weights(*net);
    const auto y = net->forward(input_of(shape));
    EXPECT_EQ(y.sizes(), shape);
    EXPECT_TRUE(y.isfinite().all().item<bool>());
  }
}

TEST(UNet, AnAbsentLabelIsTheLabelBehindTheLast) {
  const torch::NoGradGuard no_grad;
  auto options = small();
  options.num_classes = 3;
  UNet net(options, 1);
  set_formula_weights(*net);
  auto input = input_of({2, 1, 4, 4});
  const auto without = net->forward(input);
  input.given.labels = torch::full({2}, 3, torch::kInt64);
  EXPECT_TRUE(torch::equal(net->forward(input), without));
  input.given.labels = torch::full({2}, 0, torch::kInt64);
  EXPECT_FALSE(torch::equal(net->forward(input), without));
}

TEST(UNet, FourierFeaturesWidenTheFirstConvolutionOnly) {
  auto options = small();
  options.fourier_features = {7, 8};
  UNet net(options, 3);
  EXPECT_EQ(net->named_parameters()["conv_in.weight"].size(1), 15);
  EXPECT_EQ(net->forward(input_of({1, 3, 4, 4})).sizes(), (std::vector<int64_t>{1, 3, 4, 4}));
}

TEST(UNet, StartsAsTheZeroFunction) {
  ModelOptions options;
  options.unet = small();
  const auto net = make_model(options, {1, 8, 8});
  EXPECT_EQ(net->forward(input_of({2, 1, 8, 8})).abs().max().item<float>(), 0.0f);
}

std::string message(const UNetOptions& options) {
  try {
    UNet net(options, 1);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "";
}

TEST(UNet, AnOptionThatDoesNotFitIsNamed) {
  auto o = small();
  o.norm_groups = 3;
  EXPECT_THAT(message(o),
              testing::AllOf(HasSubstr("model.norm_groups = 3"), HasSubstr("8 channels")));
  o = small();
  o.attention_head_dim = 5;
  EXPECT_THAT(message(o), HasSubstr("model.attention_head_dim = 5"));
  o = small();
  o.attention = {true};
  EXPECT_THAT(message(o), HasSubstr("1 flags"));
  o = small();
  o.residual_resampling = {true};
  EXPECT_THAT(message(o), HasSubstr("model.residual_resampling with 1 flags"));
  o = small();
  o.channels = {};
  EXPECT_THAT(message(o), HasSubstr("model.channels"));
  o = small();
  o.channels = {7, 14};
  EXPECT_THAT(message(o), HasSubstr("(7, 14)"));
  o = small();
  o.layers_per_block = 0;
  EXPECT_THAT(message(o), HasSubstr("model.layers_per_block = 0"));
  o = small();
  o.dropout = 1.0;
  EXPECT_THAT(message(o), HasSubstr("model.dropout = 1.0"));
  o = small();
  o.num_classes = -1;
  EXPECT_THAT(message(o), HasSubstr("model.num_classes = -1"));
  o = small();
  o.downsample_padding = 2;
  EXPECT_THAT(message(o), HasSubstr("model.downsample_padding = 2"));
}

TEST(UNet, AnInputThatDoesNotFitIsNamed) {
  UNet net(small(), 3);
  try {
    net->forward(input_of({2, 1, 4, 4}));
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_THAT(e.what(), testing::AllOf(HasSubstr("(2, 1, 4, 4)"), HasSubstr("(B, 3, H, W)")));
  }
  auto labelled = input_of({2, 3, 4, 4});
  labelled.given.labels = torch::zeros({2}, torch::kInt64);
  EXPECT_THROW(net->forward(labelled), ConfigError);
}

}  // namespace
}  // namespace scorenet::models
