// Whether gradients travel while backward runs or after it: chosen, or measured in the first steps.
//
// Hiding traffic pays where something else moves it: a GPU's copy engines, a network card, an idle core. Where every core
// computes, the thread that moves it takes its time from backward, and both lose by switching (benchmarks/reducer.cpp). The
// sums are the same bits either way, so measuring changes nothing but the time.
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

  /// Seconds that the step took, forward and backward and traffic, which overlaps() describes. Only until decided.
  void record(double seconds);
  /// Whether all steps that measure are done; then decide().
  bool is_complete() const { return recorded_ == kWarmUp + 2 * kPairs; }
  /// What rank() == 0 finds best: without overlap only where that is at least 1 % faster, medians over the pairs.
  bool better_on() const;
  /// Every rank, with what rank zero found.
  void decide(bool on);

  /// "during backward", "after backward (71.2 ms a step, 74.0 during it)".
  std::string describe() const;

 private:
  bool decided_;
  bool on_;
  int64_t recorded_ = 0;
  std::vector<double> on_s_, off_s_;
};

}  // namespace scorenet::reduce
