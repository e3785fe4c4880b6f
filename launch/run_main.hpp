// Runs a verb on all ranks and turns errors into exit codes.
#pragma once

#include <functional>

#include "framework/comm/fingerprint.hpp"
#include "framework/comm/make_communicator.hpp"
#include "framework/core/error.hpp"

namespace scorenet::launch {

/// What a verb does once the command line is understood. Every rank runs it.
using Action = std::function<ExitCode(comm::Communicators&)>;

/// What a verb asks for: how the ranks communicate, and what they do.
struct Task {
  comm::CommOptions comm;
  Action action;
  /// The work of this process. It is compared over the ranks as soon as they are connected.
  comm::Fingerprint identity = {};
  int64_t threads = 0;           // --threads, or the config's; 0: not given
  bool alone = false;            // rank zero does it, without MPI; the other ranks do nothing
  bool heeds_stop = false;       // looks at the stop flag; else INT, TERM and HUP end the process
  bool keeps_its_lines = false;  // a file holds all that it prints
};

/// Starts the ranks (a process without a launcher is the only one), runs the action on each,
/// returns the exit code.
///
/// An error is one sentence on stderr: from rank zero as it is, from another rank as "[rank R host]
/// ...". If all ranks have the same error, rank zero prints it once, and each rank ends by itself.
/// A rank that has no error within three seconds may wait in a collective: then the job is aborted.
/// Standard output that cannot be written gives a task that is otherwise done exit code 6, unless
/// it keeps its lines.
int run_on_ranks(const Task& task);

/// The exit code of a process that ends before the ranks are connected. Ranks other than zero
/// wait a moment first: a launcher ends the job when the first process fails, and rank zero
/// prints the error.
int end_before_connecting(ExitCode code);

/// Whether the launcher's environment says that this process is not rank zero; false without a
/// launcher. For output before the ranks are connected (--help, a wrong command line or config),
/// which is printed once.
bool launched_as_other_rank();

/// The threads that the user asked for: `asked` (--threads, run.threads) if > 0, else
/// OMP_NUM_THREADS; 0 if neither.
int64_t threads_asked_for(int64_t asked);

/// Sets LibTorch's thread count: the number asked for; else one if a GPU computes, and this rank's
/// cores (cores.hpp) if not. Collective. Rank zero notes on stderr if mpirun has bound it to fewer
/// cores than there are.
void use_threads(int64_t asked, comm::Communicator& comm);

}  // namespace scorenet::launch
