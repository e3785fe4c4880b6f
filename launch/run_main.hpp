// The frame around every verb: ranks, and how an error leaves the program.
#pragma once

#include <functional>

#include "framework/comm/fingerprint.hpp"
#include "framework/comm/make_communicator.hpp"
#include "framework/core/error.hpp"

namespace scorenet::launch {

/// What a verb does once the command line is understood. Every rank runs it.
using Action = std::function<ExitCode(comm::Communicators&)>;

/// A verb's choice: how the ranks are to talk, and what they do then.
struct Task {
  comm::CommOptions comm;
  Action action;
  comm::Fingerprint identity =
      {};               // what this process is to do; compared as soon as the ranks are connected
  int64_t threads = 0;  // --threads, or the config's; 0: not given
  bool alone = false;   // rank zero does it, without MPI; the others have nothing to do
  bool heeds_stop = false;       // looks at the stop flag; else INT, TERM and HUP end the process
  bool keeps_its_lines = false;  // what it prints stands in a file too
};

/// Starts the ranks (a process without a launcher is the only one), runs the action on each,
/// returns the exit code.
///
/// An error is one sentence on stderr: from rank zero as it is, from another rank as "[rank R host]
/// ...". What all ranks saw is told once, by rank zero, and each ends by itself. Where one has not
/// come to an error within three seconds, it may wait in a collective, and the job is aborted.
/// Standard output that cannot be written ends a task that is otherwise done with exit code 6,
/// unless it keeps its lines.
int run_on_ranks(const Task& task);

/// The exit code of what ended before the ranks were connected. Ranks other than zero wait a
/// moment first: launchers end the job with the first process that fails, and rank zero is the
/// one that speaks.
int end_before_connecting(ExitCode code);

/// Whether the launcher's environment says that this process is not rank zero; without a launcher,
/// false. For what happens before the ranks are connected (--help, a wrong command line or config):
/// it is printed once.
bool launched_as_other_rank();

/// The threads that the user asked for: `asked` (--threads, run.threads) if > 0, else
/// OMP_NUM_THREADS; 0 if neither.
int64_t threads_asked_for(int64_t asked);

/// Sets LibTorch's thread count: as asked for, else one where a GPU computes and this rank's cores
/// (cores.hpp) where none does. Collective. Rank
/// zero says on stderr where mpirun has bound it to fewer cores than there are.
void use_threads(int64_t asked, comm::Communicator& comm);

}  // namespace scorenet::launch
