// A U-Net's forward and backward pass held in a CUDA graph: nothing on the GPU route may wait for
// the device or read the host's memory. Skips, and says so, where there is no device.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
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

TEST(UNetGraphGpu, AReplayComputesWhatAPlainStepDoes) {
  const torch::Device gpu(torch::kCUDA, 0);
  if (!torch::cuda::is_available() || !kernels::has_gpu_route(torch::empty({1, 8, 1, 1}, gpu))) {
    std::printf("skipped: no GPU for each rank (no CUDA device here, or a build without nvcc)\n");
    GTEST_SKIP();
  }
  torch::manual_seed(1);
  ModelOptions options;
  options.unet.attention = {false, true, false};
  options.unet.log_snr_of_step = {10.0, 3.0, 0.0, -4.0, -10.0};
  const auto network = make_model(options, {3, 28, 28});
  {
    const torch::NoGradGuard no_grad;
    for (auto& p : network->parameters()) p.add_(torch::randn(p.sizes()) * 0.05);
  }
  network->to(gpu);
  const auto x = torch::randn({4, 3, 28, 28}).to(gpu), log_snr = torch::randn({4}).to(gpu);
  const auto step = [&] {
    torch::Tensor y;
    {
      const AutocastScope scope(torch::kBFloat16, torch::kCUDA);
      y = network->forward({x, log_snr, {}, nullptr});
    }
    auto out = torch::autograd::grad({y.square().sum()}, network->parameters());
    out.push_back(y.detach());
    return out;
  };
  // Another stream than the default one, as a capture wants.
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  for (int warm_up = 0; warm_up < 3; ++warm_up) step();
  torch::cuda::synchronize();
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  const auto captured = step();
  graph.capture_end();
  x.normal_();  // the graph reads what is in its inputs at a replay
  graph.replay();
  torch::cuda::synchronize();
  const auto plain = step();
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_TRUE(
        torch::allclose(captured[i], plain[i], 1e-3, 1e-3 * plain[i].abs().max().item<double>()))
        << i;
  }
}

}  // namespace
}  // namespace scorenet::models
