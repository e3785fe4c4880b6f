// Evaluations of a network, recorded on a GPU and launched again (core/device_graph.hpp): samplers
// and likelihoods ask for the same shapes hundreds of times.
#pragma once

#include <torch/types.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "framework/core/device_graph.hpp"
#include "models/conditions.hpp"

namespace scorenet::score {

/// The input of an evaluation, all on the network's device.
struct NetworkCall {
  torch::Tensor x;        // (B, ...), float32
  torch::Tensor log_snr;  // (B)
  models::Conditions given;
};

class RecordedNetwork {
 public:
  using Evaluate = std::function<torch::Tensor(const NetworkCall&)>;

  /// The value of evaluate(call). The first calls of a shape compute it directly; then it is
  /// recorded. compute_dtype: the type that evaluate computes in, which counts as part of the
  /// shape. Weights may change between calls, but must stay at their addresses. Several threads may
  /// call this; they take turns. REQUIRES records_graphs() of the device, and no gradients.
  torch::Tensor operator()(const Evaluate& evaluate, const NetworkCall& call,
                           torch::Dtype compute_dtype);

 private:
  // Of x, its and the level's types, and which conditions are given.
  using Shape = std::tuple<std::vector<int64_t>, torch::Dtype, torch::Dtype, std::array<bool, 4>>;
  struct Recording {
    int64_t calls = 0;
    NetworkCall inputs;
    torch::Tensor result;
    std::unique_ptr<DeviceGraph> graph;
  };
  static void record(Recording& recording, const Evaluate& evaluate, const NetworkCall& call);

  std::mutex mutex_;  // a recording's inputs and result are one caller's at a time
  std::map<Shape, Recording> recordings_;
};

}  // namespace scorenet::score
