// Recomputed activations: the same bits of output and gradients, derivatives of all orders, fewer
// bytes.
#include "models/recompute.hpp"

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "models/autocast.hpp"
#include "models/make_model.hpp"
#include "models/score_network.hpp"
#include "tests/support/noise.hpp"

namespace scorenet::models {
namespace {

struct Case {
  std::string type;
  std::vector<int64_t> shape;
  torch::Dtype compute = torch::kFloat32;
  double dropout = 0.0;
  bool adm = false;  // the U-Net's other blocks
};

std::shared_ptr<ScoreNetwork> network_of(const Case& c, bool recompute) {
  ModelOptions o;
  o.type = c.type;
  o.seed = 4;
  o.unet = {.channels = {16, 32},
            .attention = {false, true},
            .norm_groups = 4,
            .dropout = c.dropout,
            .recompute = recompute,
            .kernels = "blocks"};  // recomputation leaves the CPU executor, which rounds otherwise
  o.unet.scale_shift = c.adm;
  o.unet.residual_resampling = {c.adm, c.adm};
  o.dit = {.width = 24, .depth = 4, .dropout = c.dropout, .recompute = recompute};
  return make_model(o, c.shape);
}

NetworkInput input_of(const Case& c, const BatchSlots* dropout) {
  return {test::noise(1, 3, c.shape).to(torch::kFloat32),
          torch::tensor({-2.0, 0.0, 2.0}, torch::kFloat64),
          {},
          dropout};
}

// The output, and the gradient of every parameter.
std::vector<torch::Tensor> run(const Case& c, bool recompute) {
  const auto network = network_of(c, recompute);
  test::perturb(*network);
  torch::Tensor y;
  {
    // Neither lives until the backward pass, as in a step.
    const BatchSlots slots{{9, RandomStream::dropout, 3}, slot_range(0, 3)};
    const AutocastScope scope(c.compute);
    y = network->forward(input_of(c, &slots));
  }
  (y * test::noise(2, 3, c.shape).to(torch::kFloat32)).sum().backward();
  std::vector<torch::Tensor> all{y.detach()};
  for (const auto& p : network->parameters()) all.push_back(p.grad());
  return all;
}

class Recompute : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, Recompute,
                         testing::Values(Case{"unet", {1, 8, 8}},
                                         Case{"unet", {2, 8}, torch::kFloat32, 0.2},
                                         Case{"unet", {1, 4, 4, 4}},
                                         Case{"unet", {1, 8, 8}, torch::kFloat32, 0.2, true},
                                         Case{"unet", {1, 8, 8}, torch::kBFloat16},
                                         Case{"dit", {1, 8, 8}, torch::kFloat32, 0.2},
                                         Case{"dit", {1, 8, 8}, torch::kBFloat16}));

TEST_P(Recompute, GivesTheSameBits) {
  const auto kept = run(GetParam(), false), again = run(GetParam(), true);
  ASSERT_EQ(kept.size(), again.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    ASSERT_EQ(kept[i].defined(), again[i].defined()) << i;
    if (!kept[i].defined()) continue;
    EXPECT_TRUE(torch::equal(kept[i], again[i])) << i;
  }
}

TEST(Recompute, HasSecondDerivatives) {
  const Case c{"unet", {1, 4, 4}};
  std::vector<torch::Tensor> found;
  for (const bool recompute : {false, true}) {
    const auto network = network_of(c, recompute);
    network->to(torch::kFloat64);
    const torch::NoGradGuard no_grad;
    for (auto& p : network->parameters()) p += 0.1 * torch::ones_like(p).cumsum(0).sin();
    const torch::AutoGradMode record(true);
    NetworkInput input = input_of(c, nullptr);
    input.x = input.x.to(torch::kFloat64).requires_grad_(true);
    const torch::Tensor y = (network->forward(input).pow(2)).sum();
    const torch::Tensor first = torch::autograd::grad({y}, {input.x}, {}, true, true)[0];
    found.push_back(torch::autograd::grad({first.pow(2).sum()}, {input.x})[0]);
  }
  EXPECT_GT(found[0].abs().max().item<double>(), 1e-3);
  EXPECT_TRUE(torch::allclose(found[0], found[1], 1e-12, 1e-12));
}

// Adds up what LibTorch allocates and frees on this thread.
struct LiveBytes : c10::MemoryReportingInfoBase {
  void reportMemoryUsage(void* /*pointer*/, int64_t size, size_t /*allocated*/, size_t /*reserved*/,
                         c10::Device /*device*/) override {
    live += size;
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t live = 0;
};

int64_t bytes_kept(const Case& c, bool recompute) {
  const auto network = network_of(c, recompute);
  const NetworkInput input = input_of(c, nullptr);
  const auto bytes = std::make_shared<LiveBytes>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, bytes);
  const torch::Tensor y = network->forward(input);
  return bytes->live;
}

TEST(Recompute, KeepsAThirdOfTheActivationsAtMost) {
  for (const char* type : {"unet", "dit"}) {
    const Case c{type, {1, 16, 16}};
    const int64_t all = bytes_kept(c, false), few = bytes_kept(c, true);
    EXPECT_GT(few, 0);
    EXPECT_LT(3 * few, all) << type << ": " << few << " of " << all << " bytes";
  }
}

}  // namespace
}  // namespace scorenet::models
