// Device memory over an MPI library that accepts it. Off unless asked for (comm.gpu_aware_mpi),
// since a library that does not accept it crashes.
//
// MPI knows nothing of streams: the device must have finished computing into a buffer before MPI
// gets it.
#pragma once

#include <functional>
#include <memory>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

/// Throws ConfigError, naming both remedies, unless gradients on a GPU can travel: over NCCL, over
/// an MPI that the config calls GPU-aware, or not at all because there is one rank.
void check_device_memory_has_a_carrier(bool on_gpu, bool over_nccl, int ranks, bool gpu_aware_mpi);

/// `communicator`, with `settle` called before every operation: it waits until the device has done
/// all that was queued.
std::unique_ptr<Communicator> make_settling_communicator(std::unique_ptr<Communicator> communicator,
                                                         std::function<void()> settle);

}  // namespace scorenet::comm
