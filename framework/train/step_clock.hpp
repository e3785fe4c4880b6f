// The time of a rank's steps by phases that follow one another: summed, and traced if asked for.
//
// Only the phases before `communication` show which rank is slow: in a collective every rank waits
// for the slowest one, and so looks slow (perf/straggler.hpp).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/perf/straggler.hpp"
#include "framework/perf/timeline.hpp"
#include "framework/reduce/gradient_reducer.hpp"

namespace scorenet::train {

/// update: of the weights and their averages. On a GPU it is part of `other`.
enum class StepPhase { data, forward, backward, update, other, communication };
constexpr size_t kStepPhases = 6;
const char* name(StepPhase phase);

/// Seconds in each phase, in the order of StepPhase.
using PhaseSeconds = std::array<double, kStepPhases>;

class StepClock {
 public:
  /// Spans of the first traced_steps steps are kept.
  explicit StepClock(int64_t traced_steps) : traced_left_(traced_steps) {}

  /// A step begins in `other`; its data has been waited for as long as this.
  void begin_step(double data_wait_s);
  /// The phase so far ends, another begins.
  void enter(StepPhase phase);
  /// The step is over. traffic: of this step, for the trace.
  void end_step(const reduce::ReducerStats& traffic);

  /// Mean seconds a step since the last call.
  PhaseSeconds take();

  bool tracing() const { return traced_left_ > 0; }
  const std::vector<perf::Span>& spans() const { return spans_; }

 private:
  void close();

  int64_t traced_left_;
  int64_t steps_ = 0;
  PhaseSeconds sums_{};
  StepPhase phase_ = StepPhase::other;
  double since_s_ = 0;  // wall clock
  std::vector<perf::Span> spans_;
};

/// The rank that delays the others in one of the phases before `communication` by more than
/// `excess` of a step, from every rank's means. Collective; the same answer on all ranks.
/// Nothing for one rank or excess = 0.
std::optional<perf::Straggler> find_straggler(const PhaseSeconds& mine, double excess,
                                              comm::Communicator& comm);

}  // namespace scorenet::train
