// How a rank that ends with an error learns whether all others do too: then each may leave by
// itself, and nothing needs to be aborted.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "framework/comm/mpi_communicator.hpp"

namespace scorenet::comm {

class LastWords {
 public:
  virtual ~LastWords() = default;

  /// The words of all ranks, by rank, once each has called this; empty if some rank has not within
  /// `limit_s`: it may wait in a collective for ever. To be called once.
  virtual std::vector<int64_t> exchange(int64_t mine, double limit_s) = 0;
};

/// Collective. environment: null for a process without MPI, which hears itself.
std::unique_ptr<LastWords> make_last_words(const MpiEnvironment* environment);

}  // namespace scorenet::comm
