// The frame around every verb: ranks, and how an error leaves the program.
#pragma once

#include <functional>

#include "framework/comm/communicator.hpp"
#include "framework/core/error.hpp"

namespace scorenet::launch {

/// What a verb does once the command line is understood. Every rank runs it.
using Action = std::function<ExitCode(comm::Communicator&)>;

/// Starts MPI (a process without a launcher is the only rank), runs the action on every rank, and returns the exit code.
///
/// An error is one sentence on stderr: from rank zero as it is, from another rank as "[rank R host] ...". The job then
/// ends at once, as the other ranks may be waiting in a collective; what all ranks saw is told once, by rank zero.
int run_on_ranks(const Action& action);

/// Whether the launcher's environment says that this process is not rank zero; without a launcher, false.
/// For what happens before MPI starts (--help, a wrong command line): it is printed once.
bool launched_as_other_rank();

}  // namespace scorenet::launch
