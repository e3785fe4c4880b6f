// NCCL on real devices, one rank each: what the fake cannot show. Skips, and says so, where a rank
// has no device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>

#include <cstdio>

#include "framework/comm/mpi_communicator.hpp"
#include "framework/comm/nccl_communicator.hpp"
#include "framework/core/error.hpp"
#include "framework/reduce/bf16_traffic.hpp"
#include "framework/reduce/gradient_reducer.hpp"
#include "tests/gpu/recorded_sums.hpp"

namespace scorenet {
namespace {

comm::Buffer buffer_of(const torch::Tensor& tensor) {
  return {tensor.data_ptr(), tensor.numel(), comm::DataType::float32};
}

class NcclGpu : public testing::Test {
 protected:
  void SetUp() override {
    host_ = comm::make_mpi_communicator(environment_);
    const auto devices = static_cast<int>(torch::cuda::device_count());
    if (!comm::nccl_is_built_in() || devices < host_->local_size()) {
      std::printf("skipped: no GPU for each rank (%d devices, %d ranks on this host, NCCL %s)\n",
                  devices, host_->local_size(),
                  comm::nccl_is_built_in() ? "built in" : "not built in");
      GTEST_SKIP();
    }
    device_ = torch::Device(torch::kCUDA, static_cast<torch::DeviceIndex>(comm::select_nccl_device(
                                              host_->local_rank(), host_->local_size(), devices)));
    nccl_ = comm::make_nccl_communicator(*host_, {.compute_stream = current_cuda_stream});
  }
  void TearDown() override { nccl_.reset(); }

  torch::Tensor filled(double value, int64_t count) const {
    return torch::full({count}, value, torch::dtype(torch::kFloat32).device(device_));
  }

  comm::MpiEnvironment environment_;
  std::unique_ptr<comm::Communicator> host_, nccl_;
  torch::Device device_ = torch::kCPU;
};

TEST_F(NcclGpu, EveryCollectiveOnDeviceMemory) {
  const int n = nccl_->size(), r = nccl_->rank();
  const auto sum = filled(r, 1 << 20);
  nccl_->all_reduce(buffer_of(sum), comm::ReduceOp::sum, "sum").wait();
  EXPECT_TRUE(sum.eq(n * (n - 1) / 2).all().item<bool>());
  const auto sent = filled(r, 100);
  nccl_->broadcast(buffer_of(sent), n - 1, "broadcast").wait();
  EXPECT_TRUE(sent.eq(n - 1).all().item<bool>());
  const auto mine = filled(r, 10), all = filled(-1, 10 * n), back = filled(-1, 10 * n);
  nccl_->all_gather(buffer_of(mine), buffer_of(all), "gather").wait();
  nccl_->all_to_all(buffer_of(all), buffer_of(back), "exchange").wait();
  for (int k = 0; k < n; ++k) {
    EXPECT_TRUE(all.narrow(0, 10 * k, 10).eq(k).all().item<bool>());
    EXPECT_TRUE(back.narrow(0, 10 * k, 10).eq(r).all().item<bool>());  // part r of all ranks: r
  }
  const auto part = filled(-1, 10);
  nccl_->reduce_scatter(buffer_of(all), buffer_of(part), comm::ReduceOp::sum, "scatter").wait();
  EXPECT_TRUE(part.eq(n * r).all().item<bool>());
}

// Memory of NCCL's own, registered where the library can.
TEST_F(NcclGpu, ItsOwnMemoryTravels) {
  const std::shared_ptr<void> memory = nccl_->allocate((1 << 20) * 4);
  ASSERT_NE(memory, nullptr);
  const auto values =
      torch::from_blob(memory.get(), {1 << 20}, torch::dtype(torch::kFloat32).device(device_));
  const int n = nccl_->size();
  for (int k = 0; k < 3; ++k) {
    values.fill_(nccl_->rank() + k);
    nccl_->all_reduce(buffer_of(values), comm::ReduceOp::sum, "own memory").wait();
    EXPECT_TRUE(values.eq(n * (n - 1) / 2 + n * k).all().item<bool>());
  }
}

TEST_F(NcclGpu, TakesWhatTheComputeStreamHasNotFinishedYet) {
  // Half a second's worth of products is queued before the buffer is filled; nothing waits for it
  // but NCCL's stream.
  auto a = torch::rand({4096, 4096}, torch::dtype(torch::kFloat32).device(device_));
  for (int i = 0; i < 50; ++i) a = a.mm(a) / 4096;
  const auto values = (a.flatten().narrow(0, 0, 1000) * 0 + nccl_->rank()).contiguous();
  nccl_->all_reduce(buffer_of(values), comm::ReduceOp::sum, "late").wait();
  const int n = nccl_->size();
  EXPECT_TRUE(values.eq(n * (n - 1) / 2).all().item<bool>());
}

TEST_F(NcclGpu, RecordedSumsAreDoneAtEveryLaunch) { check_recorded_sums(*nccl_, device_); }

TEST_F(NcclGpu, TheReducerSumsGradientsWhileBackwardRuns) {
  for (const auto& traffic : {reduce::all_reduce_traffic(), reduce::bf16_traffic()}) {
    const auto w = filled(0, 5000).requires_grad_();
    const auto layout = reduce::make_flat_layout({5000});
    const auto flat = filled(0, layout.total);
    reduce::GradientReducer reducer({w}, flat, layout, *nccl_,
                                    {{4 << 20, 1 << 20, 1 << 20}, {}, traffic});
    reducer.begin(true);
    (w * (nccl_->rank() + 1)).sum().backward();
    reducer.finish();
    const int n = nccl_->size();
    EXPECT_TRUE(
        w.grad().eq(n * (n + 1) / 2).all().item<bool>());  // small integers are exact in bf16
  }
}

}  // namespace
}  // namespace scorenet
