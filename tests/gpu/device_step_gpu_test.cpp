// Training steps on a GPU: recorded as a CUDA graph, launched kernel by kernel, and on the CPU.
// Skips, and says so, where there is no device.
#include <ATen/Context.h>
#include <torch/cuda.h>

#include <cstdio>

#include "framework/core/device_graph.hpp"
#include "tests/framework/train/sim_training.hpp"

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

// Without attention, whose fused backward pass adds in any order.
config::Config images_config(const std::string& more) {
  config::Config config = config::parse_text(
      "[model]\ntype = \"unet\"\nchannels = [16, 32]\nnorm_groups = 8\ndropout = 0.1\n"
      "attention = [false, false]\n"
      "[train]\nbatch_size = 12\nsteps = 100\nwarmup_steps = 1\nlearning_rate = 0.001\n"
      "micro_batch = 8\n[ema]\ndecays = [0.5]\n" +
          more,
      "device_step_gpu_test");
  config.model.unet.mid_attention = false;
  return config;
}

struct Training : private Borrowed, public Learner {
  Training(const config::Config& config, torch::Device device, comm::Communicator& comm)
      : Borrowed(comm),
        Learner(
            [&] {
              auto built = score::build_model(config, {3, 16, 16}, device);
              built.compute_dtype =
                  config.train.precision == "bf16" ? torch::kBFloat16 : torch::kFloat32;
              return built;
            }(),
            /*levels=*/256, comms) {
    // Its search may choose another kernel in every thread: each training here has its own.
    at::globalContext().setBenchmarkCuDNN(false);
  }

  // 24 images in turns; pixels are a function of their number.
  std::optional<StepReport> run(int64_t k) {
    data::LoadedBatch loaded;
    loaded.step = k;
    loaded.slots = {0, 12};
    loaded.batch.indices = slot_range(k % 2 * 12, 12);
    loaded.batch.examples = (torch::arange(12 * 768) * (31 + k % 2))
                                .remainder(256)
                                .to(torch::kUInt8)
                                .view({12, 3, 16, 16});
    const torch::Tensor numbers = torch::sin(torch::arange(12 * 768)).view({12, 3, 16, 16});
    if (model.config.data.augment > 0) loaded.augment = numbers.flatten(1).narrow(1, 0, 9);
    if (!model.config.data.missing.empty()) loaded.batch.observed = numbers < 0.9;
    if (!model.config.conditions.empty()) loaded.batch.numbers = numbers.flatten(1).narrow(1, 9, 2);
    // Its square is no finite number; the weight itself is.
    if (spoil == k) parameters.parameters().back().detach().view({-1})[0].fill_(1e38);
    return step->run(loaded, k, {});
  }

  int64_t spoil = -1;
};

struct Outcome {
  torch::Tensor weights, average;
  std::vector<StepReport> reports;
};

Outcome train(const config::Config& config, torch::Device device, int64_t steps) {
  Outcome out;
  on_ranks(1, [&](comm::Communicator& comm) {
    Training training(config, device, comm);
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
  for (const std::string precision : {"precision = \"fp32\"\n", "precision = \"bf16\"\n"}) {
    const std::string train_keys = "[run]\ngraph = ";
    config::Config recorded = images_config(train_keys + "true\n");
    config::Config launched = images_config(train_keys + "false\n");
    recorded.train.precision = launched.train.precision =
        precision.find("bf16") != std::string::npos ? "bf16" : "fp32";
    const Outcome a = train(recorded, kGpu, 10), b = train(launched, kGpu, 10);
    ASSERT_EQ(a.reports.size(), 10u);
    ASSERT_EQ(b.reports.size(), 10u);
    for (size_t k = 0; k < 10; ++k) {
      EXPECT_EQ(a.reports[k].step, static_cast<int64_t>(k));
      EXPECT_EQ(a.reports[k].loss, b.reports[k].loss) << precision << k;
      EXPECT_EQ(a.reports[k].grad_norm, b.reports[k].grad_norm) << precision << k;
    }
    EXPECT_TRUE(torch::equal(a.weights, b.weights)) << precision;
    EXPECT_TRUE(torch::equal(a.average, b.average)) << precision;
  }
}

// Also where something is told or missing: both come to the device beside the pixels.
TEST_F(DeviceStepGpu, TrainsAsTheCpuDoes) {
  for (const std::string& more :
       {std::string(),
        std::string("[data]\nmissing = \"nan\"\n[diffusion]\nlabel_drop = 0.3\n"
                    "[condition.e]\narray = \"e\"\nshape = [2]\n"),
        std::string("[data]\naugment = 0.5\n")}) {
    expect_cpus_training(images_config(more));
  }
}

// The device leaves the step out by itself, in a recorded step too.
TEST_F(DeviceStepGpu, AStepThatIsNotFiniteMovesNoAverage) {
  config::Config config = images_config("");
  config.train.precision = "fp32";
  on_ranks(1, [&](comm::Communicator& comm) {
    Training training(config, kGpu, comm);
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
