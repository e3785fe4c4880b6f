// Finds frozen ranks. A rank that a signal has stopped, a machine that hangs or a link that is cut
// neither fails nor answers, and MPI does not notice. So every rank sends a few bytes a second from
// a thread of its own, also while its program computes or waits.
//
// All ranks send to rank zero, and rank zero sends to all. Rank zero watches every rank; every rank
// watches rank zero. A rank that has missed another for longer than the limit says which one it is,
// where it runs and what it last did, and ends the job. A rank whose own thread was stopped (the
// whole job suspended, a laptop closed) starts to count anew.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "framework/comm/deadline.hpp"
#include "framework/comm/mpi_communicator.hpp"

namespace scorenet::comm {

struct HeartbeatOptions {
  double limit_s = 0;  // > 0; a frozen rank is reported within this and a tenth of it
  /// What to do with the sentence; it must not return to a program that goes on. Default: print it,
  /// dump the flight record, MPI_Abort with exit code 5.
  std::function<void(const std::string&)> on_lost{};
};

/// Beats from construction to destruction.
class Heartbeat {
 public:
  virtual ~Heartbeat() = default;
};

/// Collective. Null if there is one rank, or if MPI lets only one thread call it. `vitals` is what
/// this rank tells the others about itself. The destructor tells the others that this rank ends,
/// and waits until all of them do or one is found frozen; while an exception is unwinding it does
/// not wait.
/// Throws ConfigError unless limit_s > 0.
std::unique_ptr<Heartbeat> start_heartbeat(const MpiEnvironment& environment,
                                           std::shared_ptr<const Vitals> vitals,
                                           std::shared_ptr<const FlightRecorder> recorder,
                                           const HeartbeatOptions& options);

}  // namespace scorenet::comm
