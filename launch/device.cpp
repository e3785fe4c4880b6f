#include "launch/device.hpp"

#include <torch/cuda.h>

#include <string>

#include "framework/comm/gpu_aware_mpi.hpp"
#include "framework/core/error.hpp"

namespace scorenet::launch {

torch::Device device_for_rank(const comm::Communicator& comm) {
  if (!torch::cuda::is_available()) return torch::kCPU;
  const auto devices = static_cast<int>(torch::cuda::device_count());
  if (devices == 1 && comm.local_size() > 1)
    return torch::Device(torch::kCUDA, 0);  // the launcher gave each rank its own
  if (comm.local_size() > devices) {
    throw CommError(
        std::to_string(comm.local_size()) + " ranks on a host with " + std::to_string(devices) +
        " CUDA devices: start one rank per device (--ntasks-per-node, or mpirun --map-by).");
  }
  return torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(comm.local_rank()));
}

std::unique_ptr<comm::Communicator> carrier_of_device_memory(
    torch::Device device, const comm::MpiEnvironment& environment,
    const comm::MpiOptions& options) {
  return comm::make_settling_communicator(comm::make_mpi_communicator(environment, options),
                                          [device] { torch::cuda::synchronize(device.index()); });
}

}  // namespace scorenet::launch
