// Evaluations of a network, recorded on a GPU and launched again (core/device_graph.hpp): samplers
// and likelihoods ask for the same shapes hundreds of times.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "framework/core/device_graph.hpp"
#include "framework/score/network_call.hpp"
#include "framework/score/recorded_gradient.hpp"

namespace scorenet::score {

class RecordedNetwork {
 public:
  /// The value of evaluate(call). The first calls of a shape compute it directly; then it is
  /// recorded. compute_dtype: the type that evaluate computes in, which counts as part of the
  /// shape. Weights may change between calls, but must stay at their addresses. Several threads may
  /// call this; they take turns. REQUIRES records_graphs() of the device, and no gradients.
  torch::Tensor operator()(const Evaluate& evaluate, const NetworkCall& call,
                           torch::Dtype compute_dtype);

  /// The same with a derivative in call.x, and in nothing else.
  RecordedGradient& with_gradient() { return with_gradient_; }

 private:
  using Shape = std::pair<int64_t, CallKind>;  // with the batch
  struct Recording {
    int64_t calls = 0;
    NetworkCall inputs;
    torch::Tensor result;
    std::shared_ptr<DeviceGraph> graph;
  };
  void record(Recording& recording, const Evaluate& evaluate, const NetworkCall& call);

  // Results of all recordings lie in one memory: its launches take turns.
  std::shared_ptr<GraphMemory> memory_ = std::make_shared<GraphMemory>();
  RecordedGradient with_gradient_{memory_};
  std::map<Shape, Recording> recordings_;
};

}  // namespace scorenet::score
