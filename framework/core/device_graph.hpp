// Work of a device that is recorded once and then launched as a whole: a training step of some
// thousand small kernels costs the host one call, and the device has no gaps between them (CUDA
// graphs).
//
// What is recorded are the launches, with the addresses and numbers they were given. So the work
// reads whatever changes from tensors that stay where they are, and copies nothing from or to the
// host.
#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>

namespace scorenet {

class DeviceGraph {
 public:
  virtual ~DeviceGraph() = default;
  /// Does the recorded work once more, on the current stream.
  virtual void launch() = 0;
};

/// Whether this build can record what that device does.
bool records_graphs(torch::Device device);

/// Calls `work` once; nothing of it is computed before launch(). It must have run before, so that
/// libraries have chosen their kernels. Tensors made in it are the graph's; those that it writes
/// to must outlive it. REQUIRES records_graphs(device).
std::unique_ptr<DeviceGraph> record_graph(torch::Device device, const std::function<void()>& work);

}  // namespace scorenet
