// Evaluations that are differentiated in x: forward and backward pass recorded on a GPU and
// launched again, as likelihoods along the flow ask for hundreds of times.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "framework/core/device_graph.hpp"
#include "framework/score/network_call.hpp"

namespace scorenet::score {

/// Device memory that several recordings use in turns.
struct GraphMemory {
  std::mutex mutex;
  std::shared_ptr<DeviceGraph> last;  // any graph of them: the next one is recorded beside it
  int64_t launches = 0;               // which launch wrote what now lies there
};

class RecordedGradient {
 public:
  explicit RecordedGradient(std::shared_ptr<GraphMemory> memory) : memory_(std::move(memory)) {}

  /// The value of evaluate(call), with a derivative in call.x alone. Backward passes may come late,
  /// more than once, or from another thread; a second derivative is computed anew without a
  /// recording. A batch runs in the recording of the next quarter of the largest batch so far, so
  /// rows must not depend on one another. Otherwise as RecordedNetwork. REQUIRES gradients to be
  /// recorded and call.x.requires_grad().
  torch::Tensor operator()(const Evaluate& evaluate, const NetworkCall& call,
                           torch::Dtype compute_dtype);

  /// A forward and a backward pass of one shape.
  struct Passes {
    std::shared_ptr<GraphMemory> memory;
    int64_t rows = 0;  // at least as many as a batch that it serves
    int64_t calls = 0;
    bool too_large = false;  // for the device's memory, on top of what is there
    Evaluate evaluate;
    NetworkCall inputs;
    torch::Tensor result, d_result, d_x;
    std::shared_ptr<DeviceGraph> forward, backward;
  };

 private:
  // The sizes that are recorded for batches of one kind: 1, 2, 3 and 4 quarters of the largest.
  struct Family {
    int64_t largest = 0;
    std::array<std::shared_ptr<Passes>, 4> quarters;
  };

  std::shared_ptr<Passes> passes_for(int64_t batch, const CallKind& kind);

  std::shared_ptr<GraphMemory> memory_;
  std::map<CallKind, Family> families_;
};

}  // namespace scorenet::score
