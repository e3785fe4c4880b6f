// How long a rank waits for the others before it says so and ends the job: a limit for each phase
// of a run.
#pragma once

#include <chrono>

namespace scorenet::comm {

/// What the program is doing. Rank zero alone may be busy in `evaluate` and `save` while
/// the others wait.
enum class Phase { start, train, evaluate, save };

const char* name(Phase phase);

/// Seconds that one wait may last in each phase, > 0. The config's keys are comm.start_timeout_s
/// and its siblings; in training, `evaluate` follows from eval.time_budget_s.
struct PhaseLimits {
  double start = 300;
  double train = 120;
  double evaluate = 3600;
  double save = 600;

  double of(Phase phase) const;
};

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace scorenet::comm
