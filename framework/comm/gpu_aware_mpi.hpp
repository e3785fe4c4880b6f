// Device memory over an MPI library that takes it: off unless asked (comm.gpu_aware_mpi), since one
// that does not take it crashes.
//
// MPI knows nothing of streams: what computes into a buffer must have ended before the buffer
// is handed over.
#pragma once

#include <functional>
#include <memory>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

/// Throws ConfigError naming both ways out unless gradients on a GPU have a carrier: NCCL, MPI that
/// was said to be GPU-aware, or no other rank.
void check_device_memory_has_a_carrier(bool on_gpu, bool over_nccl, int ranks, bool gpu_aware_mpi);

/// `communicator`, with `settle` called before every operation: it waits until the device has done
/// all that was queued.
std::unique_ptr<Communicator> make_settling_communicator(std::unique_ptr<Communicator> communicator,
                                                         std::function<void()> settle);

}  // namespace scorenet::comm
