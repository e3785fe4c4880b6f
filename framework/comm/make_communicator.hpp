// Chooses the back end that this process talks over, from its environment and its options.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "framework/comm/comm_options.hpp"
#include "framework/comm/communicator.hpp"
#include "framework/comm/flight_recorder.hpp"
#include "framework/comm/heartbeat.hpp"
#include "framework/comm/mpi_communicator.hpp"

namespace scorenet::comm {

/// All that a process owns to talk to the other ranks. It is destroyed in reverse order: NCCL, then
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

/// Throws ConfigError for a back end that is unknown (the message lists the known ones) or not
/// built in. Throws CommError if the launcher started several processes that do not see each other
/// (srun without --mpi=pmix). compute_stream: NcclOptions::compute_stream.
Communicators make_communicators(const CommOptions& options,
                                 const std::function<void*()>& compute_stream = {});

/// Whether mpirun, srun with PMI(x) or a similar launcher started this process. Reads the
/// environment alone.
bool started_by_a_launcher();

/// Throws CommError if Slurm started more than one task and MPI sees `mpi_size` = 1: each task
/// would train alone.
void check_slurm_tasks(int mpi_size);

}  // namespace scorenet::comm
