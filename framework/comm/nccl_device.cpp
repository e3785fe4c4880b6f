#include <string>

#include "framework/comm/nccl_communicator.hpp"
#include "framework/core/error.hpp"

namespace scorenet::comm {

int select_nccl_device(int local_rank, int local_size, int visible_devices) {
  if (visible_devices < 1) {
    throw ConfigError(
        "comm.backend = nccl: no CUDA device is visible to this rank. Check nvidia-smi and "
        "CUDA_VISIBLE_DEVICES, or set comm.backend = mpi.");
  }
  // The launcher gave each rank its own device (srun --gpus-per-task=1).
  if (visible_devices == 1) return 0;
  if (local_size > visible_devices) {
    throw ConfigError("comm.backend = nccl: " + std::to_string(local_size) +
                      " ranks on a host with " + std::to_string(visible_devices) +
                      " visible CUDA devices; NCCL needs one rank per device. Start at most " +
                      std::to_string(visible_devices) + " ranks on each host.");
  }
  return local_rank;
}

}  // namespace scorenet::comm
