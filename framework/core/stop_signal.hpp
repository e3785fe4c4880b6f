// A request to stop: USR1, USR2, TERM, INT and HUP set a flag. Long work looks at the flag between
// two units of work.
//
// The signals come from Slurm before the time limit, from a person who presses ^C, or from a
// terminal that is closed. Each rank has its own flag. Where all ranks must decide alike, they
// reduce the flags (a training step) or send them to each other (the heartbeat).
#pragma once

#include "framework/core/error.hpp"

namespace scorenet {

/// Work that ended early because of a stop signal. Exit code 75: start the same command again.
struct StopRequested : Error {
  explicit StopRequested(const std::string& sentence) : Error(ExitCode::requeue, sentence) {}
};

/// From now on these signals set the flag; they are unblocked (see launch/early_start.cpp). A
/// second INT or TERM ends the process at once; a file that was being written then stays a
/// temporary file. HUP stays ignored where it is ignored already (nohup).
void catch_stop_signals();

/// For work that does not look at the flag: INT, TERM and HUP end the process again. If one has
/// come already, the process ends now.
void let_signals_end_the_process();

/// A write to a closed pipe, or beyond the limit on a file's size, then fails with an error like
/// any other write. Without this, the signals PIPE and XFSZ would end the process.
void let_writes_fail();

/// Whether a stop was asked for.
bool stop_asked() noexcept;

/// Sets the flag as a signal does, for a stop that another rank received.
void ask_to_stop() noexcept;

/// Throws StopRequested if a stop was asked for. For work that an exception may interrupt anywhere
/// without leaving something half done.
void throw_if_stop_asked();

/// Clears the flag. For tests.
void forget_stop() noexcept;

}  // namespace scorenet
