// Grids of one to three axes: convolutions against LibTorch's own, rings against their symmetry.
#include "models/grid.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "framework/core/error.hpp"
#include "models/dit.hpp"
#include "models/make_model.hpp"
#include "models/unet.hpp"
#include "tests/support/noise.hpp"

namespace scorenet::models {
namespace {

using test::noise;
using test::perturb;
using testing::HasSubstr;

// Place by place: y[o, l] = b[o] + sum over i, t of w[o, i, t] x[i, (l + t - 1) mod n].
torch::Tensor ring_by_hand(const torch::Tensor& x, const ConvolutionImpl& conv) {
  const int64_t n = x.size(2);
  torch::Tensor y = torch::zeros({x.size(0), conv.weight.size(0), n}, torch::kFloat64);
  for (int64_t l = 0; l < n; ++l) {
    y.select(2, l) += conv.bias;
    for (int64_t t = 0; t < 3; ++t)
      y.select(2, l) +=
          torch::matmul(x.select(2, (l + t - 1 + n) % n), conv.weight.select(2, t).t());
  }
  return y;
}

TEST(Convolution, OfARingIsTheSumTakenModuloItsLength) {
  Convolution conv(ConvolutionOptions{.in = 2, .out = 3, .boundaries = {Boundary::periodic}});
  conv->to(torch::kFloat64);
  perturb(*conv);
  for (const int64_t n : {1, 2, 5}) {
    const torch::NoGradGuard no_grad;
    const torch::Tensor x = noise(1, 2, {2, n});
    EXPECT_TRUE(torch::allclose(conv(x), ring_by_hand(x, *conv), 1e-12, 1e-12)) << n;
  }
}

TEST(Convolution, BoundedByZerosIsLibTorchsInAnyNumberOfAxes) {
  for (int64_t axes = 1; axes <= 3; ++axes) {
    Convolution conv(ConvolutionOptions{
        .in = 2, .out = 3, .stride = 2, .boundaries = Boundaries(static_cast<size_t>(axes))});
    conv->to(torch::kFloat64);
    perturb(*conv);
    std::vector<int64_t> shape{2, 4, 3, 5};
    shape.resize(static_cast<size_t>(axes) + 1);
    const torch::Tensor x = noise(2, 2, shape);
    const std::vector<int64_t> twos(static_cast<size_t>(axes), 2), ones(twos.size(), 1),
        none(twos.size(), 0);
    const torch::Tensor expected =
        at::convolution(x, conv->weight, conv->bias, twos, ones, ones, false, none, 1);
    EXPECT_TRUE(torch::equal(conv(x), expected)) << axes;
  }
}

TEST(Extended, RepeatsARingAndFillsALineWithZeros) {
  const torch::Tensor x = torch::arange(6, torch::kFloat64).view({1, 1, 2, 3});
  const torch::Tensor y = extended(x, {Boundary::zeros, Boundary::periodic}, 1, 1);
  const torch::Tensor expected = torch::tensor(
      {{0., 0., 0., 0., 0.}, {2., 0., 1., 2., 0.}, {5., 3., 4., 5., 3.}, {0., 0., 0., 0., 0.}});
  EXPECT_TRUE(torch::equal(y[0][0], expected.to(torch::kFloat64))) << y;
}

UNetOptions small_unet(std::vector<std::string> padding) {
  return {.channels = {4, 8},
          .attention = {false, true},
          .attention_head_dim = 4,
          .norm_groups = 2,
          .padding = std::move(padding)};
}

// Whether shifting the input along `dim` shifts the output, to rounding.
bool commutes_with_a_shift(ScoreNetwork& network, const torch::Tensor& x, int64_t dim,
                           int64_t places) {
  const torch::NoGradGuard no_grad;
  NetworkInput input{x, torch::zeros({x.size(0)}, torch::kFloat64), {}, nullptr};
  const torch::Tensor shifted_after = torch::roll(network.forward(input), places, dim);
  input.x = torch::roll(x, places, dim);
  return torch::allclose(network.forward(input), shifted_after, 1e-10, 1e-10);
}

TEST(UNetOfRings, CommutesWithShiftsAlongARingAlone) {
  for (const int64_t padding : {0, 1}) {
    UNetOptions options = small_unet({"zeros", "zeros", "periodic"});
    options.downsample_padding = padding;
    UNet network(options, 1, 3);
    network->to(torch::kFloat64);
    perturb(*network);
    const torch::Tensor x = noise(3, 2, {1, 4, 4, 6});
    // Two levels see shifts by two places.
    EXPECT_TRUE(commutes_with_a_shift(*network, x, 4, 2)) << padding;
    EXPECT_FALSE(commutes_with_a_shift(*network, x, 3, 2)) << padding;
  }
}

TEST(Networks, ARingThatCannotBeHalvedIsNamed) {
  ModelOptions options;
  options.unet = small_unet({"periodic"});
  try {
    make_model(options, {1, 9});
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), HasSubstr("axis 0 of 9 places is periodic"));
    EXPECT_THAT(e.what(), HasSubstr("multiple of 2"));
  }
  options.type = "dit";
  options.dit.padding = {"zeros", "periodic"};
  EXPECT_THROW(make_model(options, {1, 9, 9}), ConfigError);
  EXPECT_NO_THROW(make_model(options, {1, 9, 8}));
}

TEST(Networks, ABoundaryThatDoesNotFitIsNamed) {
  const auto message = [](const std::vector<std::string>& padding) -> std::string {
    try {
      boundaries_of(padding, 2);
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(message({"reflect"}),
              HasSubstr("model.padding = \"reflect\": expected zeros or periodic"));
  EXPECT_THAT(message({"zeros", "zeros", "periodic"}), HasSubstr("3 entries"));
  EXPECT_THAT(message({}), HasSubstr("0 entries"));
  EXPECT_EQ(message({"periodic"}), "");
}

}  // namespace
}  // namespace scorenet::models
