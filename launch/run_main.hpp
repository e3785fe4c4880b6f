// The frame around every verb: ranks, and how an error leaves the program.
#pragma once

#include <functional>

#include "framework/comm/make_communicator.hpp"
#include "framework/core/error.hpp"

namespace scorenet::launch {

/// What a verb does once the command line is understood. Every rank runs it.
using Action = std::function<ExitCode(comm::Communicators&)>;

/// A verb's choice: how the ranks are to talk, and what they do then.
struct Task {
  comm::CommOptions comm;
  Action action;
};

/// Starts the ranks (a process without a launcher is the only one), runs the action on each, returns the exit code.
///
/// An error is one sentence on stderr: from rank zero as it is, from another rank as "[rank R host] ...". The job then
/// ends at once, as the other ranks may be waiting in a collective; what all ranks saw is told once, by rank zero.
int run_on_ranks(const Task& task);

/// Whether the launcher's environment says that this process is not rank zero; without a launcher, false.
/// For what happens before the ranks are connected (--help, a wrong command line or config): it is printed once.
bool launched_as_other_rank();

/// Sets LibTorch's thread count: this rank's cores (cores.hpp); `asked` > 0 wins (run.threads). Collective. Rank zero says on
/// stderr where mpirun has bound it to fewer cores than there are.
void use_threads(int64_t asked, comm::Communicator& comm);

}  // namespace scorenet::launch
