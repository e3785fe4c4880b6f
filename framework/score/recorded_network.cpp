#include "framework/score/recorded_network.hpp"

namespace scorenet::score {
namespace {

// What else is asked for is computed kernel by kernel.
constexpr size_t kMostShapes = 4;

}  // namespace

void RecordedNetwork::record(Recording& recording, const Evaluate& evaluate,
                             const NetworkCall& call) {
  recording.inputs = call.mapped([](const torch::Tensor& t) { return t.clone(); });
  recording.graph = record_graph(
      call.x.device(), [&recording, evaluate] { recording.result = evaluate(recording.inputs); },
      memory_->last.get());
  memory_->last = recording.graph;
}

torch::Tensor RecordedNetwork::operator()(const Evaluate& evaluate, const NetworkCall& call,
                                          torch::Dtype compute_dtype) {
  const Shape shape{call.x.size(0), kind_of(call, compute_dtype)};
  const std::lock_guard lock(memory_->mutex);
  if (recordings_.size() == kMostShapes && !recordings_.contains(shape)) return evaluate(call);
  Recording& recording = recordings_[shape];
  if (recording.calls++ < kEagerCalls) return evaluate(call);
  if (!recording.graph) record(recording, evaluate, call);
  refill(recording.inputs, call);
  ++memory_->launches;
  recording.graph->launch();
  return recording.result.clone();  // the next launch writes over it
}

}  // namespace scorenet::score
