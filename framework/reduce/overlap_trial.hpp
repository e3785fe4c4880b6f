// Whether gradients travel while backward runs or after it: chosen, or measured in the first steps.
//
// Overlap saves time if something else than a computing core moves the data: a GPU's copy engines,
// a network card, an idle core. If every core computes, the thread that moves data takes time from
// backward, and switching between the two costs more (benchmarks/reducer.cpp). The sums have the
// same bits either way, so the measurement changes only the time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace scorenet::reduce {

enum class Overlap { on, off, measured };

class OverlapTrial {
 public:
  /// Steps that measure: after kWarmUp that do not count, kPairs of one step each way.
  static constexpr int64_t kWarmUp = 2;
  static constexpr int64_t kPairs = 8;

  explicit OverlapTrial(Overlap choice)
      : decided_(choice != Overlap::measured), on_(choice != Overlap::off) {}

  /// Whether the traffic of the coming step overlaps with its backward.
  bool overlaps() const;
  bool decided() const { return decided_; }

  /// Seconds that backward and traffic of a step took together, in the way that overlaps() says.
  /// Only until decided.
  void record(double seconds);
  /// Whether all steps that measure are done; then decide().
  bool is_complete() const { return recorded_ == kWarmUp + 2 * kPairs; }
  /// What these times speak for: no overlap only where that is at least 1 % faster, by medians.
  bool better_on() const;
  /// On every rank with what rank zero's times speak for.
  void decide(bool on);

  /// "during backward", "after backward (both take 71.2 ms, during backward 74)".
  std::string describe() const;

 private:
  bool decided_;
  bool on_;
  int64_t recorded_ = 0;
  std::vector<double> on_s_, off_s_;
};

}  // namespace scorenet::reduce
