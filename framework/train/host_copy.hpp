// A run's state at one step in host memory, for a writer that works while training goes on.
//
// The copy is made between two steps; a GPU makes it on its stream, behind the steps so far and
// before those to come, and the host does not wait. The memory is taken once (page-locked for a
// GPU) and filled again at each save: the state's own size, on rank zero alone.
#pragma once

#include <c10/core/Event.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/train/checkpoint_state.hpp"

namespace scorenet::train {

class HostCopy {
 public:
  /// Bytes that a copy of this state needs on rank zero.
  static int64_t bytes_for(const optim::FlatParameters& parameters, const Update& update);

  /// Takes the memory where it has none. REQUIRES rank zero, and the same state at every call.
  void allocate(const TrainState& state);
  /// Copies. Collective where other ranks hold parts; only rank zero keeps anything. REQUIRES that
  /// nobody reads the last copy any more.
  void take(const TrainState& state, comm::Communicator& comm);

  /// The copy's tensors by file; views of its memory. Read them after wait().
  const std::map<std::string, checkpoint::TensorMap>& files() const { return files_; }
  /// An average's values (Update::average), by parameter name. The same memory.
  checkpoint::TensorMap average(const TrainState& state, size_t profile) const;

  /// Waits for the device. Any thread.
  void wait() const;
  /// The same for another thread that outlives this.
  std::shared_ptr<c10::Event> arrived() const { return arrived_; }

 private:
  std::vector<torch::Tensor> flats_;  // of buffers_of(), in their order
  std::map<std::string, checkpoint::TensorMap> files_;
  std::shared_ptr<c10::Event> arrived_;  // null: the CPU has copied
};

/// Waits for an event; nothing for null.
void wait_for(const std::shared_ptr<c10::Event>& event);

}  // namespace scorenet::train
