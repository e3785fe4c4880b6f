// The device a rank computes on.
#pragma once

#include <torch/types.h>

#include <memory>

#include "framework/comm/mpi_communicator.hpp"

namespace scorenet::launch {

/// The CUDA device of this rank's place on its host, or the CPU where this build or machine has
/// none. Throws CommError if more ranks run on the host than it has devices.
torch::Device device_for_rank(const comm::Communicator& comm);

/// Memory of this device, which is not the CPU, between processes by an MPI library that takes its
/// addresses (comm.gpu_aware_mpi). Collective.
std::unique_ptr<comm::Communicator> carrier_of_device_memory(
    torch::Device device, const comm::MpiEnvironment& environment, const comm::MpiOptions& options);

}  // namespace scorenet::launch
