// Device memory between processes, over NCCL: one rank a GPU. Linked in when built
// with -DSCORENET_CUDA=ON.
#pragma once

#include <functional>
#include <memory>

#include "framework/comm/communicator.hpp"
#include "framework/comm/flight_recorder.hpp"

namespace scorenet::comm {

struct NcclOptions {
  PhaseLimits limits{};
  /// The cudaStream_t whose earlier work produces the buffers, asked at every operation, by the
  /// thread that starts it. If that stream is being recorded, so is the operation. Empty: the
  /// default stream.
  std::function<void*()> compute_stream{};
  /// Notes every operation and is dumped on failure. Null: none.
  std::shared_ptr<FlightRecorder> recorder{};
};

/// Whether this program was built with NCCL.
bool nccl_is_built_in();

/// The CUDA device of this rank: the only visible one, or else the rank's index on its machine.
/// Throws ConfigError naming the counts if a machine has more ranks than visible devices, or if no
/// device is visible.
int select_nccl_device(int local_rank, int local_size, int visible_devices);

/// A communicator over the ranks of `bootstrap` (MPI), which carries NCCL's unique id and must
/// outlive it. The current device is set to this rank's. Collective. Throws ConfigError if the
/// program was built without NCCL or no device fits, CommError if NCCL or CUDA fails.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap,
                                                     const NcclOptions& options = {});

}  // namespace scorenet::comm
