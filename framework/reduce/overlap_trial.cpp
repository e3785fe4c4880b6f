#include "framework/reduce/overlap_trial.hpp"

#include <array>
#include <cstdio>

#include "framework/core/median.hpp"

namespace scorenet::reduce {

bool OverlapTrial::overlaps() const {
  if (decided_ || recorded_ < kWarmUp) return on_;
  // on off, off on, on off, ...: what drifts meets both alike.
  const int64_t k = recorded_ - kWarmUp;
  return (k % 2 == 0) == (k / 2 % 2 == 0);
}

void OverlapTrial::record(double seconds) {
  if (recorded_ >= kWarmUp) (overlaps() ? on_s_ : off_s_).push_back(seconds);
  ++recorded_;
}

bool OverlapTrial::better_on() const { return median(off_s_) > 0.99 * median(on_s_); }

void OverlapTrial::decide(bool on) {
  decided_ = true;
  on_ = on;
}

std::string OverlapTrial::describe() const {
  const char* during = "during backward";
  const char* after = "after backward";
  if (!decided_) return std::string(during) + " or after it, as measured in the first steps";
  std::string text = on_ ? during : after;
  if (on_s_.empty()) return text;
  std::array<char, 96> times{};
  std::snprintf(times.data(), times.size(), " (both take %.4g ms, %s %.4g)",
                1e3 * median(on_ ? on_s_ : off_s_), on_ ? after : during,
                1e3 * median(on_ ? off_s_ : on_s_));
  return text + times.data();
}

}  // namespace scorenet::reduce
