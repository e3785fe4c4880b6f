// Work of a device that is recorded once and then launched as a whole (CUDA graphs). A training
// step has some thousand small kernels. Recorded, it costs the host one call, and the device has no
// gaps between kernels.
//
// A recording holds the launches with the addresses and numbers that they were given. So the work
// must read everything that changes from tensors that stay in place, and must not copy from or to
// the host.
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

/// Calls `work` once and records it; nothing is computed before launch(). `work` must have run
/// before, so that libraries have chosen their kernels. The graph owns the tensors that `work`
/// makes; tensors that it writes to must outlive the graph. beside: a living graph whose memory
/// this one uses too, or null; then a launch of either may write over what the other's last launch
/// left. Throws c10::OutOfMemoryError. REQUIRES records_graphs(device).
std::unique_ptr<DeviceGraph> record_graph(torch::Device device, const std::function<void()>& work,
                                          const DeviceGraph* beside = nullptr);

/// The cudaStream_t that this thread's next kernels go to; while it records, the recorded one. Null
/// in a build without CUDA.
void* current_cuda_stream();

}  // namespace scorenet
