// The GPU route of the U-Net on a machine without a GPU: this program has its own kernels, ATen's
// operations on the CPU, in place of CUDA's. What remains is how the blocks are put together.
#include <ATen/core/PhiloxRNGEngine.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "models/autocast.hpp"
#include "models/kernels/channels_last.hpp"
#include "models/make_model.hpp"
#include "models/score_network.hpp"

namespace scorenet::models {

namespace {
int norms = 0;  // taken by the route
}

namespace kernels {

bool has_gpu_route(const torch::Tensor& x) { return x.is_cpu(); }

torch::Tensor channels_last_norm(const torch::Tensor& x, const torch::Tensor& shift,
                                 const torch::Tensor& weight, const torch::Tensor& bias,
                                 const NormSettings& settings) {
  ++norms;
  EXPECT_TRUE(x.is_contiguous(torch::MemoryFormat::ChannelsLast)) << x.sizes() << x.strides();
  return channels_last_formula(x, shift, weight, bias, settings)
      .contiguous(torch::MemoryFormat::ChannelsLast);
}

NormedInput channels_last_norm_keeping(const torch::Tensor& x, const torch::Tensor& weight,
                                       const torch::Tensor& bias, const NormSettings& settings) {
  return {channels_last_norm(x, {}, weight, bias, settings), x};
}

torch::Tensor add_bias_and_residual(const torch::Tensor& h, const torch::Tensor& bias,
                                    const torch::Tensor& residual) {
  const torch::Tensor y = h + bias.to(h.scalar_type()).view({1, -1, 1, 1});
  return residual.defined() ? y + residual : y;
}

// The masks of the generator itself, in x's logical order.
torch::Tensor drop_by_slots(const torch::Tensor& x, const DeviceSlots& at, double probability) {
  const int64_t n = x.numel() / x.size(0);
  torch::Tensor uniform = torch::empty({x.size(0), n});
  float* out = uniform.data_ptr<float>();
  for (int64_t b = 0; b < x.size(0); ++b) {
    at::Philox4_32 engine(static_cast<uint64_t>(at.key.item<int64_t>()),
                          static_cast<uint64_t>(at.slots[b].item<int64_t>()));
    for (int64_t i = 0; i < n; ++i) *out++ = static_cast<float>(engine() >> 8) * 0x1.0p-24f;
  }
  return x * (uniform.view(x.sizes()) >= probability).to(x.scalar_type()) / (1 - probability);
}

}  // namespace kernels

namespace {

constexpr int64_t kBatch = 3;

std::shared_ptr<ScoreNetwork> network(const std::string& route, int64_t padding = 1) {
  ModelOptions options;
  options.unet.channels = {8, 16};
  options.unet.attention = {false, true};
  options.unet.norm_groups = 4;
  options.unet.attention_head_dim = 4;
  options.unet.downsample_padding = padding;
  options.unet.dropout = 0.25;
  options.unet.log_snr_of_step = {10.0, 1.0, -10.0};
  options.unet.kernels = route;
  const auto unet = make_model(options, {3, 10, 11});
  const torch::NoGradGuard no_grad;
  torch::manual_seed(1);
  for (auto& p : unet->parameters()) p.add_(torch::randn(p.sizes()) * 0.1);  // no zero layers
  return unet;
}

torch::Tensor image(double seed) {
  return (seed + torch::arange(kBatch * 3 * 110) * 0.7).sin().view({kBatch, 3, 10, 11});
}

torch::Tensor run(ScoreNetwork& unet, const torch::Tensor& x) {
  const BatchSlots slots{{.seed = 5, .stream = RandomStream::dropout, .step = 0}, {0, 1, 7}};
  return unet.forward({x, torch::tensor({-2.0, 0.5, 3.0}), {}, &slots});
}

void expect_near(const std::vector<torch::Tensor>& is, const std::vector<torch::Tensor>& expected,
                 double tolerance) {
  for (size_t i = 0; i < is.size(); ++i) {
    EXPECT_EQ(is[i].sizes(), expected[i].sizes());
    // The floor is for the keys' bias: a softmax does not see it, its gradient is rounding alone.
    const double scale = expected[i].abs().max().item<double>() + 0.1;
    EXPECT_LT((is[i] - expected[i]).abs().max().item<double>() / scale, tolerance) << i;
  }
}

TEST(ChannelsLastRoute, OutputAndGradientsAreThoseOfTheOtherRoute) {
  for (const int64_t padding : {0, 1}) {
    const auto results = [&](const std::string& route) {
      const auto unet = network(route, padding);
      const auto x = image(1).requires_grad_();
      const auto y = run(*unet, x);
      auto inputs = unet->parameters();
      inputs.push_back(x);
      auto out = torch::autograd::grad({y}, inputs, {image(2)});
      out.push_back(y.detach());
      return out;
    };
    const auto expected = results("aten");
    EXPECT_EQ(norms, 0);
    const auto is = results("auto");
    EXPECT_EQ(norms, 21);
    norms = 0;
    expect_near(is, expected, 1e-5);
  }
}

TEST(ChannelsLastRoute, ItComputesInAutocastsType) {
  const auto result = [](const std::string& route, torch::Dtype dtype) {
    const torch::NoGradGuard no_grad;
    const AutocastScope scope(dtype);
    return run(*network(route), image(1));
  };
  const auto is = result("auto", torch::kBFloat16), expected = result("aten", torch::kFloat32);
  EXPECT_EQ(is.scalar_type(), torch::kFloat32);
  expect_near({is}, {expected}, 0.05);
  EXPECT_GT((is - expected).abs().max().item<double>(), 1e-4);
}

TEST(ChannelsLastRoute, TheDerivativeOfAGradientExists) {
  const auto second = [](const std::string& route) {
    const auto unet = network(route);
    const auto x = image(1).requires_grad_();
    const auto d_x = torch::autograd::grad({run(*unet, x)}, {x}, {image(2)}, true, true)[0];
    return torch::autograd::grad({d_x.square().sum()}, {x});
  };
  expect_near(second("auto"), second("aten"), 1e-3);
}

}  // namespace
}  // namespace scorenet::models
