// "Please stop": USR1, USR2, TERM, INT and HUP as a flag that whoever works long looks at between
// two units of work.
//
// Slurm announces the time limit with a signal the script chooses, a person presses ^C, a terminal
// is closed. Each rank has its own flag; what must be decided alike, the ranks reduce
// (a training step) or tell each other (the heartbeat).
#pragma once

#include "framework/core/error.hpp"

namespace scorenet {

/// Work given up because a stop was asked for. Exit code 75: the same command may be started again.
struct StopRequested : Error {
  explicit StopRequested(const std::string& sentence) : Error(ExitCode::requeue, sentence) {}
};

/// From here to the end of the process these signals set the flag, any number of them once;
/// they are unblocked (see launch/early_start.cpp). Only a second INT or TERM acts as if
/// uncaught and ends the process at once; what it was writing stays a temporary. HUP stays
/// ignored where it is (nohup).
void catch_stop_signals();

/// For work that does not look at the flag: INT, TERM and HUP end the process again, at once if
/// one came before.
void let_signals_end_the_process();

/// A write to a closed pipe or past the limit of a file's size fails, and is told as any failed
/// write is, instead of ending the process by PIPE or XFSZ.
void let_writes_fail();

/// Whether a stop was asked for.
bool stop_asked() noexcept;

/// As a signal would: another rank was told.
void ask_to_stop() noexcept;

/// Throws StopRequested if a stop was asked for. For work that leaves nothing half done when
/// it is unwound.
void throw_if_stop_asked();

/// Forgets what came. For tests.
void forget_stop() noexcept;

}  // namespace scorenet
