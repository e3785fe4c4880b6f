// Likelihoods along the flow with recorded evaluations and without, on a GPU. Skips, and says so,
// where there is no device.
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>

#include <cstdio>
#include <future>

#include "framework/config/parse.hpp"
#include "framework/core/device_graph.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/score/score_model.hpp"
#include "models/score_network.hpp"

namespace scorenet::score {
namespace {

const torch::Device kGpu(torch::kCUDA, 0);

class RecordedGradientGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (torch::cuda::is_available() && records_graphs(kGpu)) {
      // Nothing that sums in the order in which threads come, nor is chosen by the clock.
      at::globalContext().setDeterministicCuDNN(true);
      return;
    }
    std::printf("skipped: no GPU for each rank (no CUDA device here, or a build without CUDA)\n");
    GTEST_SKIP();
  }
};

ScoreModel model_of(const std::string& keys, bool graph) {
  config::Config config = config::parse_text(
      keys + "[train]\nprecision = \"fp32\"\n[run]\ngraph = " + (graph ? "true" : "false") + "\n",
      "recorded_gradient_gpu_test");
  ScoreModel model = build_model(config, {3, 16, 16}, kGpu);
  at::globalContext().setBenchmarkCuDNN(false);
  torch::manual_seed(1);
  const torch::NoGradGuard no_grad;
  for (auto& p : model.trained().network->parameters())
    p.add_(torch::randn(p.sizes()).to(kGpu) * 0.03);  // no zero layers
  return model;
}

diffusion::LikelihoodResult likelihood(const ScoreModel& model, int64_t batch, int64_t steps = 8) {
  const auto x = (torch::arange(batch * 768, torch::kFloat64) * 0.37).sin().view({-1, 3, 16, 16});
  std::vector<int64_t> slots;
  for (int64_t i = 0; i < batch; ++i) slots.push_back(i);
  return diffusion::ode_likelihood(denoiser_for(model), *model.schedule, x.to(kGpu), slots,
                                   {.steps = steps, .rtol = 1e-3, .atol = 1e-3});
}

void expect_equal(const diffusion::LikelihoodResult& a, const diffusion::LikelihoodResult& b,
                  double rtol = 1e-5) {
  EXPECT_TRUE(torch::allclose(a.nats, b.nats, rtol, 1e-2)) << a.nats << b.nats;
}

const std::string kUnet =
    "[model]\ntype = \"unet\"\nchannels = [16, 32]\nnorm_groups = 8\nattention = [false, true]\n";
const std::string kDit = "[model]\ntype = \"dit\"\nwidth = 64\ndepth = 2\nheads = 2\n";

TEST_F(RecordedGradientGpu, ALikelihoodIsThatOfPlainEvaluations) {
  for (const std::string& keys : {kUnet, kDit}) {
    SCOPED_TRACE(keys);
    const auto recorded = model_of(keys, true), plain = model_of(keys, false);
    for (const int64_t batch : {12, 5, 16})
      expect_equal(likelihood(recorded, batch), likelihood(plain, batch));
  }
}

// Adaptive steps: examples leave the batch one by one. A step that is taken here and refused there
// changes a value by what the solver's tolerance allows.
TEST_F(RecordedGradientGpu, AShrinkingBatchIsServed) {
  expect_equal(likelihood(model_of(kUnet, true), 16, 0), likelihood(model_of(kUnet, false), 16, 0),
               1e-3);
}

TEST_F(RecordedGradientGpu, ThreadsTakeTurns) {
  const auto model = model_of(kUnet, true);
  const auto expected = likelihood(model, 12);
  const auto of_thread = [&] { return likelihood(model, 12); };
  auto first = std::async(std::launch::async, of_thread),
       second = std::async(std::launch::async, of_thread);
  expect_equal(first.get(), expected);
  expect_equal(second.get(), expected);
}

}  // namespace
}  // namespace scorenet::score
