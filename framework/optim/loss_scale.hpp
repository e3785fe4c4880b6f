// Dynamic scaling of the loss for gradients in float16 (Micikevicius et al. 2018,
// 1710.03740, section 3.2).
//
// Gradients below 6e-8 vanish in float16 and those above 65504 are infinite. The loss is multiplied
// by a power of two, which the update divides out again: exactly, so that whatever overflows
// nowhere has the bits of an unscaled gradient. An overflow halves the scale and leaves the step
// out; after kPatience steps without one it doubles.
#pragma once

#include <torch/types.h>

namespace scorenet::optim {

class LossScale {
 public:
  static constexpr int64_t kPatience = 2000;
  static constexpr double kFirst = 65536;
  static constexpr double kMost = 16777216;

  /// adapts: for float16. Otherwise the scale is 1, for good.
  explicit LossScale(bool adapts);

  double value() const { return state_.const_data_ptr<double>()[0]; }
  bool adapts() const { return adapts_; }
  /// Whether a gradient that is not finite may be the scale's fault: it can still fall.
  bool can_fall() const { return adapts_ && value() > 1; }
  /// After a step whose gradient overflowed or not, the same on all ranks. The factor by which the
  /// scale has changed.
  double update(bool overflowed);

  /// (2), float64: the scale and the steps since it changed. Shares memory with this,
  /// for the checkpoint.
  const torch::Tensor& state() const { return state_; }

 private:
  bool adapts_;
  torch::Tensor state_;
};

}  // namespace scorenet::optim
