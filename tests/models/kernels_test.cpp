// The CPU fast path against the ATen blocks it stands for.
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "framework/core/error.hpp"
#include "models/autocast.hpp"
#include "models/flops.hpp"
#include "models/kernels/convolution.hpp"
#include "models/kernels/fast_path.hpp"
#include "models/make_model.hpp"

namespace scorenet::models {
namespace {

using kernels::inside;
using kernels::to_padded;

torch::Tensor noise(uint64_t step, c10::IntArrayRef shape) {
  return normal_for_slots({8, RandomStream::synthetic_data, step}, {0}, shape, torch::kFloat32)[0];
}

double relative_error(const torch::Tensor& a, const torch::Tensor& reference) {
  return ((a - reference).norm() / reference.norm()).item<double>();
}

// Runs every test in both precisions where the CPU has them.
class FastPath : public testing::TestWithParam<torch::Dtype> {
 protected:
  void SetUp() override {
    if (!kernels::fast_path_available(GetParam()))
      GTEST_SKIP() << "this CPU lacks the instructions";
  }
  // A few roundings of the precision the features are stored in.
  double tolerance() const { return GetParam() == torch::kFloat32 ? 2e-6 : 1e-2; }
  torch::Tensor stored(const torch::Tensor& x) const { return x.to(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Precisions, FastPath, testing::Values(torch::kFloat32, torch::kBFloat16),
                         [](const auto& item) {
                           return item.param == torch::kFloat32 ? "fp32" : "bf16";
                         });

TEST_P(FastPath, ConvolvesImagesOfAnyShape) {
  for (const auto& hw :
       std::vector<std::vector<int64_t>>{{7, 7}, {1, 1}, {5, 9}, {28, 28}, {3, 40}}) {
    const auto x = stored(noise(1, {2, 32, hw[0], hw[1]}));
    const auto w = stored(noise(2, {48, 32, 3, 3})).to(torch::kFloat32);
    const auto bias = noise(3, {48});
    const auto y = kernels::convolve(to_padded(x), kernels::pack_kernel(w, GetParam()), 48, {},
                                     {bias, {}, {}});
    const auto expected = torch::conv2d(x.to(torch::kFloat32), w, bias, 1, 1);
    EXPECT_LT(relative_error(inside(y).to(torch::kFloat32), expected), tolerance()) << hw[0];
    // The border stays zero: the next convolution reads it as its padding.
    EXPECT_TRUE(torch::equal(y, to_padded(inside(y))));
  }
}

TEST_P(FastPath, GivesTheSameBitsOnAnyNumberOfThreads) {
  const auto x = to_padded(stored(noise(1, {5, 32, 9, 9})));
  const auto dy = to_padded(stored(noise(2, {5, 16, 9, 9})));
  const auto w = kernels::pack_kernel(noise(3, {16, 32, 3, 3}), GetParam());
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    return std::make_pair(kernels::convolve(x, w, 16, {}, {}), kernels::kernel_gradient(x, dy, 3));
  };
  const auto one = run(1), three = run(3);
  at::set_num_threads(1);
  EXPECT_TRUE(torch::equal(one.first, three.first));
  EXPECT_TRUE(torch::equal(one.second, three.second));
}

// Compares a node's result and its gradients in x and in `weights` with those of the ATen
// expression of the same.
template <class Node, class Expression>
void expect_same(const std::vector<torch::Tensor>& inputs, const Node& node,
                 const Expression& expression, double tolerance) {
  std::vector<torch::Tensor> a, b;
  for (const auto& t : inputs) {
    a.push_back(t.detach().clone().requires_grad_(true));
    b.push_back(t.detach().to(torch::kFloat32).clone().requires_grad_(true));
  }
  const torch::Tensor ours = node(a), reference = expression(b);
  EXPECT_LT(relative_error(ours.detach().to(torch::kFloat32), reference.detach()), tolerance);
  const auto direction = noise(99, reference.sizes());
  (ours.to(torch::kFloat32) * direction).sum().backward();
  (reference * direction).sum().backward();
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_LT(relative_error(a[i].grad().to(torch::kFloat32), b[i].grad()), tolerance) << i;
  }
}

TEST_P(FastPath, NormalisesAndActivatesAsATenDoes) {
  // 48 channels: the loops take a block of 32 and one of 16. Scales and shifts in general position.
  expect_same(
      {stored(noise(1, {3, 48, 6, 5}) * 2 + 1), noise(2, {48}), noise(3, {48})},
      [](const auto& t) {
        return inside(kernels::group_norm(to_padded(t[0]), t[1], t[2], 8, 1e-5, true));
      },
      [](const auto& t) { return torch::silu(torch::group_norm(t[0], 8, t[1], t[2], 1e-5)); },
      tolerance());
}

TEST_P(FastPath, UpsamplesAndConvolvesWithoutTheLargeImage) {
  for (const int64_t width : {4, 7}) {
    expect_same(
        {stored(noise(1, {2, 32, 6, width})), noise(2, {16, 32, 3, 3}) * 0.1, noise(3, {16})},
        [](const auto& t) { return inside(kernels::upsample_block(to_padded(t[0]), t[1], t[2])); },
        [](const auto& t) {
          const auto large =
              at::upsample_nearest2d(t[0], c10::IntArrayRef{2 * t[0].size(2), 2 * t[0].size(3)});
          return torch::conv2d(large, t[1], t[2], 1, 1);
        },
        tolerance());
  }
}

// ---- the whole network

ModelOptions network_options(const std::string& choice) {
  ModelOptions o;
  // Groups of 3 channels straddle the seam between the 32 channels from below and the 16
  // of the skip.
  o.unet = {.channels = {16, 32},
            .attention = {false, true},
            .attention_head_dim = 8,
            .norm_groups = 16,
            .num_classes = 3,
            .kernels = choice};
  return o;
}

NetworkInput input_of(int64_t height, int64_t width) {
  NetworkInput input;
  input.x = noise(1, {3, 2, height, width});
  input.log_snr = torch::tensor({-4.0, 0.0, 7.0});
  input.given.labels = torch::tensor({0, 3, 1}, torch::kInt64);
  return input;
}

std::shared_ptr<ScoreNetwork> perturbed(const ModelOptions& options) {
  const auto net = make_model(options, {2, 8, 8});
  const torch::NoGradGuard no_grad;
  uint64_t step = 100;
  for (auto& p : net->parameters()) p += 0.1 * noise(step++, p.sizes());
  return net;
}

struct Pass {
  double loss;
  std::vector<torch::Tensor> gradients;
};

Pass train_pass(const ModelOptions& options, torch::Dtype dtype, int64_t height, int64_t width) {
  const auto net = perturbed(options);
  const auto input = input_of(height, width);
  torch::Tensor y;
  {
    const AutocastScope scope(dtype);
    y = net->forward(input);
  }
  const auto loss = (y - noise(2, y.sizes())).square().mean();
  loss.backward();
  Pass pass{loss.item<double>(), {}};
  for (const auto& p : net->parameters()) pass.gradients.push_back(p.grad());
  return pass;
}

double gradient_error(const Pass& a, const Pass& reference) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.gradients.size(); ++i) {
    error += (a.gradients[i] - reference.gradients[i]).square().sum().item<double>();
    norm += reference.gradients[i].square().sum().item<double>();
  }
  return std::sqrt(error / norm);
}

TEST_P(FastPath, GivesTheNetworksLossAndGradients) {
  for (const auto& size : std::vector<std::vector<int64_t>>{{8, 8}, {13, 10}}) {
    for (const int64_t padding : {0, 1}) {
      auto automatic = network_options("blocks"), aten = network_options("aten");
      automatic.unet.downsample_padding = aten.unet.downsample_padding = padding;
      const Pass reference = train_pass(aten, torch::kFloat32, size[0], size[1]);
      const Pass ours = train_pass(automatic, GetParam(), size[0], size[1]);
      if (GetParam() == torch::kFloat32) {
        EXPECT_NEAR(ours.loss / reference.loss, 1.0, 1e-6);
        EXPECT_LT(gradient_error(ours, reference), 1e-5);
      } else {
        // No worse than ATen's own bfloat16 path by more than a quarter.
        const Pass theirs = train_pass(aten, torch::kBFloat16, size[0], size[1]);
        EXPECT_NEAR(ours.loss / reference.loss, 1.0, 1e-3);
        EXPECT_LT(gradient_error(ours, reference), 1.25 * gradient_error(theirs, reference));
      }
    }
  }
}

TEST_P(FastPath, IsTakenWhereItAppliesAndOnlyThere) {
  // Its products are not LibTorch operations, so that they do not count.
  const torch::NoGradGuard no_grad;
  const AutocastScope scope(GetParam());
  const auto operations = [&](const ModelOptions& o, const NetworkInput& input) {
    const auto net = make_model(o, {2, 8, 8});
    return count_flops([&] { net->forward(input); });
  };
  const auto input = input_of(8, 8);
  const double all = operations(network_options("aten"), input);
  EXPECT_LT(operations(network_options("blocks"), input), 0.5 * all);
  auto watched = input;
  watched.x.requires_grad_(true);  // a caller who may want second derivatives
  EXPECT_EQ(operations(network_options("blocks"), watched), all);
  auto dropping = network_options("blocks");
  dropping.unet.dropout = 0.1;
  const BatchSlots slots{{1, RandomStream::dropout, 0}, {0, 1, 2}};
  auto dropped = input_of(8, 8);
  dropped.dropout = &slots;
  EXPECT_EQ(operations(dropping, dropped), all);
}

TEST_P(FastPath, RefusesSecondDerivatives) {
  const auto net = perturbed(network_options("blocks"));
  const AutocastScope scope(GetParam());
  const auto y = net->forward(input_of(8, 8)).sum();
  EXPECT_THROW(torch::autograd::grad({y}, {net->named_parameters()["conv_in.weight"]}, {},
                                     std::nullopt, /*create_graph=*/true),
               ConfigError);
}

TEST(FastPathOption, AnUnknownChoiceIsNamed) {
  try {
    make_model(network_options("fastest"), {2, 8, 8});
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("model.kernels = \"fastest\""));
  }
}

}  // namespace
}  // namespace scorenet::models
