// Dynamic scaling of the loss for gradients in float16 (Micikevicius et al. 2018,
// 1710.03740, section 3.2).
//
// Gradients below 6e-8 vanish in float16 and those above 65504 are infinite. So the loss is
// multiplied by a power of two, and the update divides by it. That is exact: without an overflow
// the gradient has the bits of an unscaled one. An overflow halves the scale and skips the step;
// after kPatience steps without an overflow the scale doubles.
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
  /// Whether a gradient that is not finite may come from the scale: the scale can still be lowered.
  bool can_fall() const { return adapts_ && value() > 1; }
  /// Call it after each step, with the same value on all ranks. Returns the factor by which the
  /// scale has changed.
  double update(bool overflowed);

  /// (2), float64: the scale and the steps since it changed. Shares memory with this,
  /// for the checkpoint.
  const torch::Tensor& state() const { return state_; }

 private:
  bool adapts_;
  torch::Tensor state_;
};

/// The same state on a device that decides by itself; the host's LossScale follows when it hears of
/// the overflows.
class LossScaleOnDevice {
 public:
  /// Does nothing at all unless `host` adapts.
  LossScaleOnDevice(const LossScale& host, torch::Device device);

  bool adapts() const { return state_.defined(); }
  /// Takes over the host's state, in place. The device must be idle.
  void take(const LossScale& host);
  /// () float64 on the device, always at the same address. REQUIRES adapts(), as does the rest.
  torch::Tensor value() const { return state_[0]; }
  /// As LossScale::update(). not_finite: () bool, whether the gradient is not finite while all
  /// losses are.
  void update(const torch::Tensor& not_finite);

 private:
  torch::Tensor state_;  // as LossScale::state()
};

}  // namespace scorenet::optim
