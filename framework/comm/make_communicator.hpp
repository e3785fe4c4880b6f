// Which back end this process talks over, from its environment and configuration: the
// table of names.
#pragma once

#include <memory>
#include <string>

#include "framework/comm/communicator.hpp"
#include "framework/comm/flight_recorder.hpp"
#include "framework/comm/heartbeat.hpp"
#include "framework/comm/mpi_communicator.hpp"

namespace scorenet::comm {

struct CommOptions {
  /// "auto": MPI if a launcher started this process, one process otherwise. "single", "mpi", "nccl"
  /// (gradients over NCCL, all else over MPI).
  std::string backend = "auto";
  PhaseLimits limits{};
  /// A frozen rank is found and named after this many seconds; 0: no heartbeat.
  double heartbeat_limit_s = 60;
  /// Debug mode: compare every collective over the ranks (MpiOptions::check_collectives).
  bool check_collectives = false;
  /// Operations that the flight recorder keeps; 0: no recorder.
  int64_t recorded_operations = 4096;
  /// See NcclOptions::compute_stream.
  void* (*compute_stream)() = nullptr;
};

/// All that a process owns to talk to its peers, destroyed in reverse: NCCL, then
/// communicators, then MPI.
struct Communicators {
  std::unique_ptr<MpiEnvironment> environment;  // null without MPI
  std::unique_ptr<Communicator> host;           // host memory: control, start-up, evaluation
  std::unique_ptr<Communicator> device;         // device memory, only with nccl
  std::unique_ptr<Heartbeat> heartbeat;         // null for one process
  std::shared_ptr<Vitals> vitals;               // never null; the trainer sets the step
  std::shared_ptr<FlightRecorder> recorder;     // may be null; the trainer sets where it dumps

  /// Where gradients travel.
  Communicator& bulk() const { return device ? *device : *host; }
};

/// Throws ConfigError naming the back ends for an unknown name or one that is not built in;
/// CommError if the launcher started several processes that do not see each other
/// (srun without --mpi=pmix).
Communicators make_communicators(const CommOptions& options);

/// Whether mpirun, srun with PMI(x) or a like launcher started this process. Reads
/// the environment alone.
bool started_by_a_launcher();

/// Throws CommError if Slurm started more than one task and MPI sees `mpi_size` = 1: each
/// would train alone.
void check_slurm_tasks(int mpi_size);

}  // namespace scorenet::comm
