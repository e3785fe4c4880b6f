// Training over several GPUs: the step as one graph with NCCL's sums within, and launched kernel by
// kernel. Skips, and says so, where a rank has no device.
#include <ATen/Context.h>
#include <torch/cuda.h>

#include <cstdio>

#include "framework/comm/mpi_communicator.hpp"
#include "framework/comm/nccl_communicator.hpp"
#include "framework/core/device_graph.hpp"
#include "tests/gpu/gpu_training.hpp"

namespace scorenet::train {
namespace {

class RecordedSumsGpu : public testing::Test {
 protected:
  void SetUp() override {
    comms_.environment = std::make_unique<comm::MpiEnvironment>();
    comms_.host = comm::make_mpi_communicator(*comms_.environment);
    comms_.vitals = std::make_shared<comm::Vitals>();
    const int ranks_here = comms_.host->local_size();
    const auto devices = static_cast<int>(torch::cuda::device_count());
    if (!comm::nccl_is_built_in() || devices < ranks_here) {
      std::printf("skipped: no GPU for each rank (%d devices, %d ranks on this host)\n", devices,
                  ranks_here);
      GTEST_SKIP();
    }
    at::globalContext().setDeterministicCuDNN(true);
    at::globalContext().setAllowTF32CuDNN(false);
    device_ = torch::Device(torch::kCUDA, static_cast<torch::DeviceIndex>(comm::select_nccl_device(
                                              comms_.host->local_rank(), ranks_here, devices)));
    comms_.device =
        comm::make_nccl_communicator(*comms_.host, {.compute_stream = current_cuda_stream});
  }

  struct Outcome {
    torch::Tensor weights, average;
    std::string note;
  };
  Outcome train(const config::Config& config) {
    Training training(config, device_, comms_);
    Outcome out;
    for (int64_t k = 0; k < 10; ++k) {
      training.run(k);
      out.note += training.step->take_note();
    }
    training.step->settle();
    out.weights = training.parameters.values().detach().cpu();
    out.average = training.update.average(0).cpu();
    return out;
  }

  comm::Communicators comms_;
  torch::Device device_ = torch::kCPU;
};

// Small buckets, so that several are under way; gradients add up over two images at a time first.
TEST_F(RecordedSumsGpu, OneGraphHasTheBitsOfKernelsLaunchedOneByOne) {
  for (const std::string keys : {"", "[comm]\noverlap = \"off\"\n"}) {
    for (const bool sharded : {false, true}) {
      config::Config config = images_config(keys);
      config.train.precision = "fp32";
      config.train.micro_batch = 2;
      config.train.shard_optimizer = sharded;
      config.comm.bucket_mb = config.comm.first_bucket_mb = config.comm.last_bucket_mb = 0.02;
      const Outcome recorded = train(config);
      config.run.graph = false;
      const Outcome launched = train(config);
      EXPECT_THAT(recorded.note, testing::HasSubstr("recorded as one graph"));
      EXPECT_EQ(launched.note, "");
      EXPECT_TRUE(torch::equal(recorded.weights, launched.weights)) << keys << sharded;
      EXPECT_TRUE(torch::equal(recorded.average, launched.average)) << keys << sharded;
    }
  }
}

}  // namespace
}  // namespace scorenet::train
