// Training steps on a GPU: recorded as a CUDA graph, launched kernel by kernel, and on the CPU.
// Skips, and says so, where there is no device.
#include <ATen/Context.h>
#include <torch/cuda.h>

#include <cmath>
#include <cstdio>

#include "framework/comm/nccl_communicator.hpp"
#include "framework/core/device_graph.hpp"
#include "tests/gpu/gpu_training.hpp"
#include "tests/gpu/recorded_sums.hpp"

namespace scorenet::train {
namespace {

const torch::Device kGpu(torch::kCUDA, 0);

class DeviceStepGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (torch::cuda::is_available() && records_graphs(kGpu)) {
      at::globalContext().setDeterministicCuDNN(true);
      at::globalContext().setAllowTF32CuDNN(false);
      return;
    }
    std::printf("skipped: no GPU for each rank (no CUDA device here, or a build without CUDA)\n");
    GTEST_SKIP();
  }
};

struct Outcome {
  torch::Tensor weights, average;
  std::vector<StepReport> reports;
};

Outcome train(const config::Config& config, torch::Device device, int64_t steps) {
  Outcome out;
  on_ranks(1, [&](comm::Communicator& comm) {
    Borrowed one(comm);
    Training training(config, device, one.comms);
    const auto keep = [&](const std::optional<StepReport>& report) {
      if (report) out.reports.push_back(*report);
    };
    for (int64_t k = 0; k < steps; ++k) keep(training.run(k));
    keep(training.step->settle());
    out.weights = training.parameters.values().detach().cpu();
    out.average = training.update.average(0).cpu();
  });
  return out;
}

void expect_cpus_training(config::Config config) {
  config.train.precision = "fp32";
  const Outcome gpu = train(config, kGpu, 8), cpu = train(config, torch::kCPU, 8);
  for (size_t k = 0; k < 8; ++k) {
    EXPECT_NEAR(gpu.reports[k].loss, cpu.reports[k].loss, 1e-3 * cpu.reports[k].loss) << k;
    EXPECT_NEAR(gpu.reports[k].grad_norm, cpu.reports[k].grad_norm, 1e-2 * cpu.reports[k].grad_norm)
        << k;
    EXPECT_EQ(gpu.reports[k].learning_rate, cpu.reports[k].learning_rate);
    for (int64_t bin = 0; bin < kLevelBins; ++bin)
      EXPECT_EQ(gpu.reports[k].level_count[bin], cpu.reports[k].level_count[bin]);
  }
}

TEST_F(DeviceStepGpu, ARecordedStepHasTheBitsOfOneLaunchedKernelByKernel) {
  for (const std::string precision : {"fp32", "bf16", "fp16"}) {
    const std::string train_keys = "[run]\ngraph = ";
    config::Config recorded = images_config(train_keys + "true\n");
    config::Config launched = images_config(train_keys + "false\n");
    recorded.train.precision = launched.train.precision = precision;
    const Outcome a = train(recorded, kGpu, 10), b = train(launched, kGpu, 10);
    ASSERT_EQ(a.reports.size(), 10u);
    ASSERT_EQ(b.reports.size(), 10u);
    for (size_t k = 0; k < 10; ++k) {
      EXPECT_EQ(a.reports[k].step, static_cast<int64_t>(k));
      EXPECT_EQ(a.reports[k].loss, b.reports[k].loss) << precision << k;
      if (std::isfinite(a.reports[k].grad_norm) || precision != "fp16") {
        EXPECT_EQ(a.reports[k].grad_norm, b.reports[k].grad_norm) << precision << k;
      }
      EXPECT_EQ(a.reports[k].overflow, b.reports[k].overflow) << precision << k;
    }
    EXPECT_TRUE(torch::equal(a.weights, b.weights)) << precision;
    EXPECT_TRUE(torch::equal(a.average, b.average)) << precision;
  }
}

// Also where something is told or missing, which comes to the device beside the pixels, and under
// losses of other numbers than the weighted one's.
TEST_F(DeviceStepGpu, TrainsAsTheCpuDoes) {
  for (const std::string& more :
       {std::string(),
        std::string("[data]\nmissing = \"nan\"\n[diffusion]\nlabel_drop = 0.3\n"
                    "[condition.e]\narray = \"e\"\nshape = [2]\n"),
        std::string("[data]\naugment = 0.5\n"),
        std::string("[diffusion]\nloss = \"elbo\"\ntrain_steps = 20\n"),
        std::string("[diffusion]\nschedule = \"vdm_learned\"\n"),
        std::string("[diffusion]\nloss = \"simple\"\ndivergence_weight = 0.1\n")}) {
    expect_cpus_training(images_config(more));
  }
}

// One rank sends nothing, but its NCCL's stream is a branch of the graph all the same.
TEST_F(DeviceStepGpu, NcclsOperationsAreRecordedWithTheKernelsAroundThem) {
  on_ranks(1, [](comm::Communicator& comm) {
    check_recorded_sums(
        *comm::make_nccl_communicator(comm, {.compute_stream = current_cuda_stream}), kGpu);
  });
}

// The device leaves the step out by itself, in a recorded step too.
TEST_F(DeviceStepGpu, AStepThatIsNotFiniteMovesNoAverage) {
  config::Config config = images_config("");
  config.train.precision = "fp32";
  on_ranks(1, [&](comm::Communicator& comm) {
    Borrowed one(comm);
    Training training(config, kGpu, one.comms);
    for (int64_t k = 0; k < 6; ++k) training.run(k);
    EXPECT_FALSE(training.step->settle()->skipped);
    const torch::Tensor before = training.update.average(0).clone();
    training.spoil = 6;
    training.run(6);
    const auto bad = training.step->settle();
    EXPECT_TRUE(bad->skipped);
    EXPECT_EQ(bad->step, 6);
    EXPECT_THAT(bad->trouble, testing::HasSubstr("sample 0 at t"));
    EXPECT_TRUE(torch::equal(training.update.average(0), before));
  });
}

}  // namespace
}  // namespace scorenet::train
