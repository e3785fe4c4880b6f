// The GPU route's kernels against ATen in float64, and the U-Net that is made of them against the
// one that is made of ATen's operations. Skips, and says so, where there is no device.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/cuda.h>

#include <cstdio>

#include "models/autocast.hpp"
#include "models/kernels/channels_last.hpp"
#include "models/make_model.hpp"
#include "models/score_network.hpp"

namespace scorenet::models {
namespace {

using kernels::NormSettings;

const torch::Device kGpu(torch::kCUDA, 0);
constexpr auto kChannelsLast = torch::MemoryFormat::ChannelsLast;

torch::Tensor normal(c10::IntArrayRef shape) {
  return torch::randn(shape, torch::dtype(torch::kFloat32).device(kGpu));
}

// Greatest difference over the size of what is expected. The floor is for gradients that are
// nothing but rounding: a softmax does not see its keys' bias.
double distance(const torch::Tensor& is, const torch::Tensor& expected, double floor = 0.1) {
  const auto precise = expected.to(torch::kFloat64);
  return ((is.to(torch::kFloat64) - precise).abs().max() / (precise.abs().max() + floor))
      .item<double>();
}

struct Case {
  int64_t batch, channels, groups, height, width;
  bool silu = true, shifted = true, keeps_input = false;
  torch::Dtype dtype = torch::kFloat32;
  double mean = 0;

  std::string name() const {
    return std::to_string(batch) + " x " + std::to_string(channels) + " x " +
           std::to_string(height) + " x " + std::to_string(width) + " groups " +
           std::to_string(groups) + " silu " + std::to_string(silu) + " shift " +
           std::to_string(shifted) + " keeps " + std::to_string(keeps_input) + " " +
           c10::toString(dtype) + " mean " + std::to_string(mean);
  }
};

struct Inputs {
  explicit Inputs(const Case& c)
      : x((normal({c.batch, c.channels, c.height, c.width}) + c.mean)
              .to(c.dtype)
              .contiguous(kChannelsLast)),
        shift(c.shifted ? normal({c.batch, c.channels}) : torch::Tensor()),
        weight(normal({c.channels}) * 0.3 + 1),
        bias(normal({c.channels})),
        d_y(normal(x.sizes()).to(c.dtype).contiguous(kChannelsLast)),
        d_beside(normal(x.sizes()).to(c.dtype).contiguous(kChannelsLast)) {}

  std::vector<torch::Tensor> all() const {
    std::vector<torch::Tensor> out{x, weight, bias};
    if (shift.defined()) out.push_back(shift);
    return out;
  }
  // The same numbers in float64, as leaves.
  Inputs precise() const {
    Inputs copy = *this;
    for (torch::Tensor* t :
         {&copy.x, &copy.shift, &copy.weight, &copy.bias, &copy.d_y, &copy.d_beside}) {
      if (t->defined()) *t = t->detach().to(torch::kFloat64);
    }
    return copy;
  }
  void record() {
    for (const auto& t : all()) t.requires_grad_();
  }

  torch::Tensor x, shift, weight, bias, d_y, d_beside;
};

NormSettings settings(const Case& c) { return {c.groups, 1e-5, c.silu}; }

// The result and the gradients in x, weight, bias and, where there is one, shift.
std::vector<torch::Tensor> by_kernels(const Case& c, Inputs in) {
  in.record();
  std::vector<torch::Tensor> results, d_results{in.d_y};
  if (c.keeps_input) {
    const auto both = kernels::channels_last_norm_keeping(in.x, in.weight, in.bias, settings(c));
    results = {both.normed, both.input};
    d_results.push_back(in.d_beside);
  } else {
    results = {kernels::channels_last_norm(in.x, in.shift, in.weight, in.bias, settings(c))};
  }
  auto out = torch::autograd::grad(results, in.all(), d_results);
  out.insert(out.begin(), results[0].detach());
  return out;
}

std::vector<torch::Tensor> by_aten(const Case& c, const Inputs& given) {
  Inputs in = given.precise();
  in.record();
  const auto y = kernels::channels_last_formula(in.x, in.shift, in.weight, in.bias, settings(c));
  auto out = torch::autograd::grad({y}, in.all(), {in.d_y});
  if (c.keeps_input) out[0] = out[0] + in.d_beside;
  out.insert(out.begin(), y.detach());
  return out;
}

double tolerance(const Case& c) {
  if (c.dtype == torch::kBFloat16) return 8e-3;
  if (c.dtype == torch::kFloat16) return 2e-3;
  return c.mean == 0 ? 1e-5 : 1e-6 * c.mean;
}

class ChannelsLastNormGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (torch::cuda::is_available() && kernels::has_gpu_route(torch::empty({1, 8, 1, 1}, kGpu))) {
      torch::manual_seed(1);
      return;
    }
    std::printf("skipped: no GPU for each rank (no CUDA device here, or a build without nvcc)\n");
    GTEST_SKIP();
  }

  static void expect_atens(const Case& c) {
    SCOPED_TRACE(c.name());
    const Inputs in(c);
    const auto is = by_kernels(c, in), expected = by_aten(c, in);
    const char* const names[] = {"y", "d_x", "d_weight", "d_bias", "d_shift"};
    EXPECT_TRUE(is[0].is_contiguous(kChannelsLast));
    EXPECT_EQ(is[0].scalar_type(), c.dtype);
    // A few numbers that lie close together are divided by next to nothing, and what their gradient
    // leaves of itself is rounding.
    const double floor = c.channels / c.groups * c.height * c.width < 32 ? 10 : 0.1;
    for (size_t i = 0; i < is.size(); ++i) {
      // Sums are float32, whatever x is.
      EXPECT_LT(distance(is[i], expected[i], floor),
                i < 2 ? tolerance(c) : std::max(1e-4, c.mean * 2e-6))
          << names[i];
    }
  }
};

TEST_F(ChannelsLastNormGpu, ResultAndGradientsAreAtens) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16, torch::kFloat16}) {
    for (const auto& [height, width] :
         {std::pair{1, 1}, {4, 4}, {7, 7}, {14, 14}, {28, 28}, {32, 32}}) {
      for (const auto& [channels, groups] :
           {std::pair{32, 16}, {64, 16}, {128, 32}, {256, 8}, {384, 32}, {96, 8}}) {
        const bool shifted = channels != 64;
        expect_atens(
            {3, channels, groups, height, width, channels != 96, shifted, !shifted, dtype});
      }
    }
  }
  expect_atens({128, 128, 32, 32, 32, true, true, false, torch::kBFloat16});
  expect_atens({128, 256, 32, 4, 4, true, false, true, torch::kBFloat16});
  expect_atens({1, 384, 32, 32, 32, true, false, true, torch::kBFloat16});
}

// Sizes that do not fit into a block's memory, channels that no 16 bytes hold, one group of all.
TEST_F(ChannelsLastNormGpu, OddAndLargeShapesToo) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    expect_atens({2, 6, 3, 5, 3, true, true, false, dtype});
    expect_atens({2, 32, 16, 128, 96, true, true, false, dtype});
    expect_atens({2, 40, 1, 16, 16, true, false, true, dtype});
    expect_atens({1, 512, 1, 32, 32, true, true, false, dtype});
    expect_atens({1, 4096, 1, 2, 2, true, true, false, dtype});
  }
}

TEST_F(ChannelsLastNormGpu, AMeanFarFromZeroCostsNoMoreThanItsOwnRounding) {
  for (const auto side : {8, 28, 128}) {
    expect_atens({2, 64, 16, side, side, true, true, false, torch::kFloat32, 1000});
  }
}

TEST_F(ChannelsLastNormGpu, ARepetitionHasTheSameBits) {
  const Case c{128, 128, 32, 32, 32, true, true, false, torch::kBFloat16};
  const Inputs in(c);
  const auto once = by_kernels(c, in);
  for (int k = 0; k < 5; ++k) {
    const auto again = by_kernels(c, in);
    for (size_t i = 0; i < once.size(); ++i) EXPECT_TRUE(torch::equal(once[i], again[i])) << i;
  }
}

TEST_F(ChannelsLastNormGpu, AnyLayoutMayComeInAndOneGradientMayBeAsked) {
  const Case c{2, 64, 16, 8, 8};
  const Inputs in(c);
  const auto x = in.x.contiguous().requires_grad_();
  const auto y = kernels::channels_last_norm(x, in.shift, in.weight, in.bias, settings(c));
  const auto d_y = in.d_y.contiguous();
  const auto expected = by_aten(c, in);
  EXPECT_LT(distance(torch::autograd::grad({y}, {x}, {d_y})[0], expected[1]), 1e-5);
  const c10::InferenceMode inference;
  EXPECT_LT(distance(kernels::channels_last_norm(in.x, in.shift, in.weight, in.bias, settings(c)),
                     expected[0]),
            1e-5);
}

TEST_F(ChannelsLastNormGpu, SecondDerivativesAreAtens) {
  const Case c{2, 64, 16, 8, 8};
  const Inputs given(c);
  const auto second = [&](Inputs in, bool kernels) {
    in.record();
    const auto y =
        kernels ? kernels::channels_last_norm(in.x, in.shift, in.weight, in.bias, settings(c))
                : kernels::channels_last_formula(in.x, in.shift, in.weight, in.bias, settings(c));
    const auto d_x = torch::autograd::grad({y}, {in.x}, {in.d_y}, true, true)[0];
    return torch::autograd::grad({d_x.square().sum()}, in.all());
  };
  const auto is = second(given, true), expected = second(given.precise(), false);
  for (size_t i = 0; i < is.size(); ++i) EXPECT_LT(distance(is[i], expected[i]), 5e-5) << i;
}

TEST_F(ChannelsLastNormGpu, BiasAndResidual) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t channels : {3, 32, 384, 1024}) {
      const Case c{16, channels, 1, 13, 16, true, false, true, dtype};
      Inputs in(c);
      in.record();
      const auto y = kernels::add_bias_and_residual(in.x, in.bias, in.d_beside);
      EXPECT_LT(distance(y, in.x.to(torch::kFloat64) + in.bias.view({1, -1, 1, 1}) + in.d_beside),
                tolerance(c));
      const auto gradients = torch::autograd::grad({y}, {in.x, in.bias}, {in.d_y});
      EXPECT_TRUE(torch::equal(gradients[0], in.d_y));
      EXPECT_LT(distance(gradients[1], in.d_y.to(torch::kFloat64).sum({0, 2, 3})), 1e-5);
      EXPECT_LT(distance(kernels::add_bias_and_residual(in.x, in.bias, {}),
                         in.x.to(torch::kFloat64) + in.bias.view({1, -1, 1, 1})),
                tolerance(c));
    }
  }
}

// ---- The U-Net.

ModelOptions network_options(bool large, const std::string& route) {
  ModelOptions options;
  options.type = "unet";
  options.unet.channels = large ? std::vector<int64_t>{64, 128, 128} : std::vector<int64_t>{32, 64};
  options.unet.attention = large ? std::vector<bool>{false, true, false} : std::vector<bool>{};
  options.unet.layers_per_block = large ? 2 : 1;
  options.unet.norm_groups = large ? 32 : 16;
  options.unet.attention_head_dim = large ? 0 : 8;
  options.unet.kernels = route;
  return options;
}

struct Network {
  Network(bool large, const std::string& route, torch::Dtype dtype)
      : module(make_model(network_options(large, route), {3, 28, 28})) {
    const torch::NoGradGuard no_grad;
    torch::manual_seed(2);
    for (auto& p : module->parameters()) p.add_(torch::randn(p.sizes()) * 0.05);  // no zero layers
    module->to(kGpu, dtype);
  }
  torch::Tensor operator()(const torch::Tensor& x, const torch::Tensor& log_snr) {
    return module->forward({x, log_snr, {}, nullptr});
  }
  std::shared_ptr<ScoreNetwork> module;
};

class UNetGpu : public ChannelsLastNormGpu {
 protected:
  static torch::Tensor levels() { return torch::tensor({-3.0, 0.0, 4.0, 9.0}).to(kGpu); }
};

// TF32 would hide what is compared.
struct ExactProducts {
  ExactProducts() { set("ieee"); }
  ~ExactProducts() { set("tf32"); }
  static void set(const char* precision) {
    at::globalContext().setAllowTF32CuDNN(std::string(precision) == "tf32");
  }
};

TEST_F(UNetGpu, OutputAndGradientsAreThoseOfTheOtherRoute) {
  const ExactProducts exact;
  for (const bool large : {false, true}) {
    SCOPED_TRACE(large);
    const auto x = normal({4, 3, 28, 28}), d_y = normal({4, 3, 28, 28});
    const auto results = [&](const std::string& route, torch::Dtype dtype) {
      Network network(large, route, dtype);
      const auto input = x.to(dtype).detach().requires_grad_();
      const auto y = network(input, levels());
      auto inputs = network.module->parameters();
      inputs.push_back(input);
      auto out = torch::autograd::grad({y}, inputs, {d_y.to(dtype)});
      out.push_back(y.detach());
      return out;
    };
    const auto is = results("auto", torch::kFloat32), aten = results("aten", torch::kFloat32),
               precise = results("aten", torch::kFloat64);
    EXPECT_TRUE(is.back().is_contiguous());
    for (size_t i = 0; i < is.size(); ++i) {
      EXPECT_LT(distance(is[i], precise[i]), std::max(1e-4, 4 * distance(aten[i], precise[i])))
          << i;
    }
  }
}

TEST_F(UNetGpu, InBfloat16ItIsAsNearToFloat64AsTheOtherRoute) {
  const auto x = normal({4, 3, 28, 28}), d_y = normal({4, 3, 28, 28});
  const auto results = [&](const std::string& route, torch::Dtype dtype, torch::Dtype compute) {
    Network network(true, route, dtype);
    torch::Tensor y;
    {
      const AutocastScope scope(compute, torch::kCUDA);
      y = network(x.to(dtype), levels());
    }
    auto out = torch::autograd::grad({y}, network.module->parameters(), {d_y.to(dtype)});
    out.push_back(y.detach());
    return out;
  };
  const auto is = results("auto", torch::kFloat32, torch::kBFloat16),
             aten = results("aten", torch::kFloat32, torch::kBFloat16),
             precise = results("aten", torch::kFloat64, torch::kFloat32);
  double worst = 0, worst_of_aten = 0;
  for (size_t i = 0; i < is.size(); ++i) {
    EXPECT_EQ(is[i].scalar_type(), torch::kFloat32);
    worst = std::max(worst, distance(is[i], precise[i]));
    worst_of_aten = std::max(worst_of_aten, distance(aten[i], precise[i]));
  }
  std::printf("bf16, greatest distance: %g, ATen's %g\n", worst, worst_of_aten);
  EXPECT_LT(worst, std::max(0.03, 2 * worst_of_aten));
}

TEST_F(UNetGpu, TheDerivativeOfAGradientExists) {
  const ExactProducts exact;
  const auto x = normal({2, 3, 28, 28}), d_y = normal({2, 3, 28, 28});
  const auto second = [&](const std::string& route, torch::Dtype dtype) {
    Network network(false, route, dtype);
    const auto input = x.to(dtype).detach().requires_grad_();
    const auto y = network(input, levels().narrow(0, 0, 2));
    const auto d_x = torch::autograd::grad({y}, {input}, {d_y.to(dtype)}, true, true)[0];
    return torch::autograd::grad({d_x.square().sum()}, {input})[0];
  };
  EXPECT_LT(distance(second("auto", torch::kFloat32), second("aten", torch::kFloat64)), 1e-3);
}

// The kernel's masks are those that the CPU draws, in every layout.
TEST_F(ChannelsLastNormGpu, DropoutHasTheCpusMasks) {
  const RandomKey key{5, RandomStream::dropout, 9};
  const std::vector<int64_t> slots{3, 1000003, 7};
  const DeviceSlots at{torch::full({1}, key_word(key), torch::kInt64).to(kGpu),
                       torch::tensor(slots, torch::kInt64).to(kGpu)};
  for (const auto& shape : std::vector<std::vector<int64_t>>{
           {3, 32, 8, 8}, {3, 5, 3, 3}, {3, 64, 7, 7}, {3, 1, 1, 1}, {3, 17, 24}}) {
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16, torch::kFloat16}) {
      const auto uniform =
          uniform_for_slots(key, slots, torch::IntArrayRef(shape).slice(1), torch::kFloat32);
      const auto keep = (uniform >= 0.3).to(kGpu);
      for (const bool last : {true, false}) {
        torch::Tensor x = (normal(shape).abs() + 1).to(dtype);
        if (last && x.dim() == 4) x = x.contiguous(kChannelsLast);
        x.requires_grad_(true);
        const auto y = kernels::drop_by_slots(x, at, 0.3);
        EXPECT_TRUE(torch::equal(y != 0, keep)) << shape << dtype << last;
        const auto expected = torch::where(keep, x.detach() / 0.7, 0.0).to(dtype);
        EXPECT_LT(distance(y, expected), 1e-2);
        const auto d = torch::autograd::grad({y.sum()}, {x})[0];
        EXPECT_TRUE(torch::equal(d != 0, keep)) << "gradient " << shape << dtype << last;
      }
    }
  }
}

}  // namespace
}  // namespace scorenet::models
