// The device a rank computes on.
#pragma once

#include <torch/types.h>

#include <memory>

#include "framework/comm/mpi_communicator.hpp"

namespace scorenet::launch {

/// The CUDA device for this rank's index on its machine, or the CPU if this build or machine has no
/// CUDA device. Throws CommError if the machine has more ranks than devices.
torch::Device device_for_rank(const comm::Communicator& comm);

/// A communicator for memory of this device (not the CPU), by an MPI library that accepts its
/// addresses (comm.gpu_aware_mpi). Collective.
std::unique_ptr<comm::Communicator> carrier_of_device_memory(
    torch::Device device, const comm::MpiEnvironment& environment, const comm::MpiOptions& options);

}  // namespace scorenet::launch
