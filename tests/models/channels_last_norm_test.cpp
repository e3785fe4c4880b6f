// What the GPU route's kernels compute, checked without a GPU: the gradient's formulas against
// autograd, and the formula by ATen that second derivatives take.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "models/kernels/channels_last.hpp"
#include "models/kernels/norm_formulas.hpp"

namespace scorenet::models::kernels {
namespace {

constexpr int64_t kChannels = 6, kGroups = 3, kPixels = 8;  // 2 x 4
constexpr double kEps = 1e-5;

torch::Tensor values(c10::IntArrayRef shape, double seed) {
  int64_t count = 1;
  for (const int64_t n : shape) count *= n;
  const auto i = torch::arange(count, torch::kFloat64);
  return (seed + 1.3 * i + 0.01 * i * i).sin().view(shape);
}

struct Example {
  torch::Tensor x = values({1, kChannels, 2, 4}, 1) + 3, shift = values({1, kChannels}, 2);
  torch::Tensor weight = values({kChannels}, 3) + 1.5, bias = values({kChannels}, 4);
  torch::Tensor d_y = values({1, kChannels, 2, 4}, 5);

  std::vector<torch::Tensor> inputs() const { return {x, shift, weight, bias}; }
  torch::Tensor y() const {
    return channels_last_formula(x, shift, weight, bias, {kGroups, kEps, /*silu=*/true});
  }
};

TEST(ChannelsLastNorm, TheFormulaIsGroupNormOfTheShiftedInput) {
  const Example e;
  const auto u = e.x + e.shift.view({1, kChannels, 1, 1});
  const auto z = torch::group_norm(u, kGroups, e.weight, e.bias, kEps);
  EXPECT_TRUE(torch::allclose(e.y(), z * torch::sigmoid(z), 1e-12, 1e-12));
  const auto plain =
      channels_last_formula(e.x.to(torch::kBFloat16), {}, e.weight, e.bias, {kGroups, kEps, false});
  EXPECT_EQ(plain.scalar_type(), torch::kBFloat16);
  const auto expected = torch::group_norm(e.x, kGroups, e.weight, e.bias, kEps);
  EXPECT_TRUE(torch::allclose(plain.to(torch::kFloat64), expected, 0.02, 0.02));
}

// The sums of a channel that the kernel takes, and its closed forms for d_x and d_shift.
TEST(ChannelsLastNorm, TheKernelsFormulasAreAutograds) {
  Example e;
  for (const auto& t : e.inputs()) t.requires_grad_();
  const auto gradients = torch::autograd::grad({e.y()}, e.inputs(), {e.d_y});
  const torch::NoGradGuard no_grad;
  const auto u = (e.x + e.shift.view({1, kChannels, 1, 1})).view({kGroups, -1});
  const auto mean = u.mean(1, true), r = (u.var(1, false, true) + kEps).rsqrt();
  const auto x_hat = ((u - mean) * r).view({kChannels, kPixels});
  const auto z = x_hat * e.weight.unsqueeze(1) + e.bias.unsqueeze(1), s = torch::sigmoid(z);
  const int64_t a_group = kChannels / kGroups;
  for (int64_t c = 0; c < kChannels; ++c) {
    const auto d_z = [&](int64_t k, int64_t p) {
      return e.d_y.view({kChannels, kPixels})[k][p].item<double>() *
             silu_slope(z[k][p].item<double>(), s[k][p].item<double>());
    };
    double sum_1 = 0, sum_2 = 0, sum = 0, product = 0;
    const int64_t first = c / a_group * a_group;
    for (int64_t k = first; k < first + a_group; ++k) {
      const double w = e.weight[k].item<double>();
      for (int64_t p = 0; p < kPixels; ++p) {
        sum_1 += w * d_z(k, p);
        sum_2 += w * d_z(k, p) * x_hat[k][p].item<double>();
        if (k != c) continue;
        sum += d_z(k, p);
        product += d_z(k, p) * x_hat[k][p].item<double>();
      }
    }
    const auto gradient = input_gradient(r[c / a_group].item<double>(), e.weight[c].item<double>(),
                                         sum_1, sum_2, static_cast<double>(a_group * kPixels));
    for (int64_t p = 0; p < kPixels; ++p) {
      EXPECT_NEAR(gradient(d_z(c, p), x_hat[c][p].item<double>()),
                  gradients[0].view({kChannels, kPixels})[c][p].item<double>(), 1e-12);
    }
    EXPECT_NEAR(gradient.sum(sum, x_hat[c].mean().item<double>(), kPixels),
                gradients[1][0][c].item<double>(), 1e-12);
    EXPECT_NEAR(product, gradients[2][c].item<double>(), 1e-12);
    EXPECT_NEAR(sum, gradients[3][c].item<double>(), 1e-12);
  }
}

TEST(ChannelsLastNorm, NoDeviceButAGpuHasTheKernels) {
  EXPECT_FALSE(has_gpu_route(torch::zeros({1, 8, 2, 2})));
  EXPECT_FALSE(has_gpu_route(torch::zeros({1, 8, 2, 2}, torch::kMeta)));
}

}  // namespace
}  // namespace scorenet::models::kernels
