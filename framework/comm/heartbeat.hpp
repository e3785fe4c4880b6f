// Finds frozen ranks. A rank stopped by a signal, a hung node or a cut link neither fails nor
// answers, and MPI notices nothing; so every rank sends a few bytes a second from a thread of its
// own, also while its program computes or waits.
//
// Star: all ranks to rank zero, rank zero to all. Rank zero watches everybody, everybody watches
// rank zero. Whoever misses a rank for longer than the limit says which, where and what it last
// did, and ends the job. A rank that finds that its own thread was stopped (the whole job
// suspended, a laptop closed) starts counting anew.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "framework/comm/deadline.hpp"
#include "framework/comm/mpi_communicator.hpp"

namespace scorenet::comm {

struct HeartbeatOptions {
  double limit_s = 60;  // > 0; a frozen rank is reported within this and a tenth of it
  /// What to do with the sentence; it must not return to a program that goes on. Default: print it,
  /// dump the flight record, MPI_Abort with exit code 5.
  std::function<void(const std::string&)> on_lost{};
};

/// Beats from construction to destruction.
class Heartbeat {
 public:
  virtual ~Heartbeat() = default;
};

/// Collective. Null where there is nobody to watch (one rank) or MPI lets only one thread call it.
/// `vitals` is what this rank tells the others about itself. The destructor takes leave of the
/// others and waits for them for at most the limit, unless an exception is unwinding. Throws
/// ConfigError unless limit_s > 0.
std::unique_ptr<Heartbeat> start_heartbeat(const MpiEnvironment& environment,
                                           std::shared_ptr<const Vitals> vitals,
                                           std::shared_ptr<const FlightRecorder> recorder,
                                           const HeartbeatOptions& options);

}  // namespace scorenet::comm
