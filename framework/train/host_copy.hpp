// A run's state at one step in host memory, for a writer that works while training goes on.
//
// The copy is made between two steps; a GPU makes it on its stream, behind the steps so far and
// before those to come, and the host does not wait. The memory is taken once (page-locked for a
// GPU) and filled again at each save: the state's own size, on rank zero alone. In parts, a rank
// copies what it alone has of sharded buffers, and nothing travels.
#pragma once

#include <c10/core/Event.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/checkpoint/parts.hpp"
#include "framework/train/checkpoint_state.hpp"

namespace scorenet::train {

class HostCopy {
 public:
  /// Bytes that a copy of this state needs on rank zero, in parts where buffers are sharded.
  static int64_t bytes_for(const optim::FlatParameters& parameters, const Update& update);

  /// Takes the memory where it has none. whole: of all that this rank copies for itself and others
  /// (rank zero). REQUIRES the same arguments at every call.
  void allocate(const TrainState& state, bool whole, bool in_parts);
  /// Copies. Collective where other ranks hold parts that travel; then only rank zero keeps
  /// anything. REQUIRES that nobody reads the last copy any more.
  void take(const TrainState& state, comm::Communicator& comm, bool in_parts);

  /// The copy's tensors by file; views of its memory. Read them after wait().
  const std::map<std::string, checkpoint::TensorMap>& files() const { return files_; }
  /// This rank's pieces of sharded buffers by file; empty unless in parts.
  const std::map<std::string, std::vector<checkpoint::TensorPiece>>& parts() const {
    return parts_;
  }
  int64_t bytes() const;
  /// An average (Update::average) by parameter name. The same memory. REQUIRES a copy that
  /// is not in parts.
  checkpoint::TensorMap average(const TrainState& state, size_t profile) const;

  /// Waits for the device. Any thread.
  void wait() const;
  /// The same for another thread that outlives this.
  std::shared_ptr<c10::Event> arrived() const { return arrived_; }

 private:
  std::vector<torch::Tensor> flats_;  // of buffers_of(), in their order
  std::map<std::string, checkpoint::TensorMap> files_;
  std::map<std::string, std::vector<checkpoint::TensorPiece>> parts_;
  std::shared_ptr<c10::Event> arrived_;  // null: the CPU has copied
};

/// Waits for an event; nothing for null.
void wait_for(const std::shared_ptr<c10::Event>& event);

}  // namespace scorenet::train
