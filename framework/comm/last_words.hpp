// A rank that ends with an error learns here whether all other ranks end too. If so, each rank
// leaves by itself and the job need not be aborted.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "framework/comm/mpi_communicator.hpp"

namespace scorenet::comm {

class LastWords {
 public:
  virtual ~LastWords() = default;

  /// The numbers of all ranks, by rank, as soon as each rank has called this. Empty if some rank
  /// has not done so within `limit_s`: it may wait in a collective for ever. Call it once.
  virtual std::vector<int64_t> exchange(int64_t mine, double limit_s) = 0;
};

/// Collective. environment: null for a process without MPI, which receives its own number.
std::unique_ptr<LastWords> make_last_words(const MpiEnvironment* environment);

}  // namespace scorenet::comm
