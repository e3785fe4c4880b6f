// A build without CUDA records nothing.
#include "framework/core/device_graph.hpp"
#include "framework/core/error.hpp"

namespace scorenet {

bool records_graphs(torch::Device) { return false; }

std::unique_ptr<DeviceGraph> record_graph(torch::Device device, const std::function<void()>&,
                                          const DeviceGraph*) {
  throw Error(ExitCode::usage, "CUDA graphs on " + device.str() +
                                   ": this build cannot record them. Set run.graph = false.");
}

void* current_cuda_stream() { return nullptr; }

}  // namespace scorenet
