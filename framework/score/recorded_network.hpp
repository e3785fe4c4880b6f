// Evaluations of a network that a GPU repeats by itself: samplers and likelihoods ask for the same
// shapes hundreds of times (core/device_graph.hpp).
#pragma once

#include <torch/types.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "framework/core/device_graph.hpp"

namespace scorenet::score {

/// What a network is asked, all on its device.
struct NetworkCall {
  torch::Tensor x;        // (B, ...), float32
  torch::Tensor log_snr;  // (B)
  torch::Tensor labels;   // (B) int64, or undefined
};

class RecordedNetwork {
 public:
  using Evaluate = std::function<torch::Tensor(const NetworkCall&)>;

  /// evaluate(call): computed as it is for the first calls of a shape, recorded then.
  /// compute_dtype: what evaluate computes in, a part of the shape. Weights may change between
  /// calls, in their place. May be called from several threads, which take turns. REQUIRES
  /// records_graphs() of the device, and no gradients.
  torch::Tensor operator()(const Evaluate& evaluate, const NetworkCall& call,
                           torch::Dtype compute_dtype);

 private:
  using Shape = std::tuple<std::vector<int64_t>, torch::Dtype, torch::Dtype, bool>;
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
