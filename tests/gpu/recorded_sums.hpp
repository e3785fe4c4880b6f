// Operations between ranks as part of a graph of a real device.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>

#include "framework/comm/communicator.hpp"
#include "framework/core/device_graph.hpp"

namespace scorenet {

/// Records kernels, an all-reduce, a reduce-scatter and an all-gather that depend on one another,
/// and looks at what launches give. `nccl` must know current_cuda_stream(). Collective.
inline void check_recorded_sums(comm::Communicator& nccl, torch::Device device) {
  ASSERT_TRUE(nccl.can_be_recorded());
  const int64_t n = nccl.size(), part_size = 1 << 18;
  const auto options = torch::dtype(torch::kFloat32).device(device);
  const auto buffer = [](const torch::Tensor& t) {
    return comm::Buffer{t.data_ptr(), t.numel(), comm::DataType::float32};
  };
  const torch::Tensor x = torch::zeros({1}, options), part = torch::zeros({part_size}, options);
  const torch::Tensor all = torch::zeros({n * part_size}, options), whole = torch::zeros_like(all);
  const torch::Tensor result = torch::zeros_like(all);
  const auto work = [&] {
    all.copy_(x.expand_as(all));
    comm::Work sum = nccl.all_reduce(buffer(all), comm::ReduceOp::sum, "sum");
    sum.join();
    all.add_(1);
    comm::Work scattered =
        nccl.reduce_scatter(buffer(all), buffer(part), comm::ReduceOp::sum, "parts");
    scattered.join();
    part.mul_(2);
    comm::Work gathered = nccl.all_gather(buffer(part), buffer(whole), "whole");
    gathered.join();
    result.copy_(whole);
    sum.wait();
    scattered.wait();
    gathered.wait();
  };
  work();  // connections come to stand
  const auto graph = record_graph(device, work);
  for (int64_t k = 1; k < 5; ++k) {
    x.fill_(static_cast<double>(nccl.rank() + k));
    graph->launch();
    comm::Work replayed = nccl.watch("recorded sums");
    replayed.wait();
    // The sum of rank + k over the ranks, and 1, summed over n equal ranks and doubled.
    EXPECT_TRUE(result.eq(2 * n * (n * (n - 1) / 2 + n * k + 1)).all().item<bool>()) << k;
  }
}

}  // namespace scorenet
