// Stands in for nccl_communicator.cpp in a build without CUDA.
#include "framework/comm/nccl_communicator.hpp"
#include "framework/core/error.hpp"

namespace scorenet::comm {

bool nccl_is_built_in() { return false; }

std::unique_ptr<Communicator> make_nccl_communicator(Communicator&, const NcclOptions&) {
  throw ConfigError(
      "comm.backend = nccl: this program was built without NCCL. Build it with ./launch/setup "
      "--cuda (-DSCORENET_CUDA=ON), or set comm.backend = mpi.");
}

}  // namespace scorenet::comm
