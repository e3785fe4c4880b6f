// How the ranks of a job talk. The config holds this struct itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/comm/deadline.hpp"

namespace scorenet::comm {

/// Keys of the config table [comm]: backend, heartbeat_limit_s, check_collectives and the time
/// limits.
struct CommOptions {
  /// One of backend_names(), or "single": one process, whatever started it.
  std::string backend = "auto";
  PhaseLimits limits{};
  /// A frozen rank is found and named after this many seconds. 0: no heartbeat.
  double heartbeat_limit_s = 60;
  /// Debugging: compare every collective over the ranks (MpiOptions::check_collectives).
  bool check_collectives = false;
  /// Operations that the flight recorder keeps. 0: no recorder.
  int64_t recorded_operations = 4096;
};

/// auto: MPI if a launcher started this process, else one process. nccl: gradients over NCCL, all
/// else over MPI.
inline std::vector<std::string> backend_names() { return {"auto", "mpi", "nccl"}; }

}  // namespace scorenet::comm
