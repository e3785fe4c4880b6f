// "Please stop": USR1, USR2, TERM and INT as a flag that the training loop reads between steps.
//
// Slurm announces the time limit with a signal the script chooses, a person presses ^C. Each rank
// reads its own flag; the trainer reduces it over the ranks, so that any one rank that was
// signalled stops all at the same step.
#pragma once

namespace scorenet::train {

/// Catches the signals from construction to destruction. One at a time in a process (signal
/// handlers are the process's). A second INT or TERM acts as if uncaught: it ends the process at
/// once, and the last checkpoint stays whole.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// The number of the signal received, 0 if none.
  int received() const noexcept;
};

}  // namespace scorenet::train
