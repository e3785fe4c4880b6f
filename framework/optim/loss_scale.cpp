#include "framework/optim/loss_scale.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <algorithm>

namespace scorenet::optim {

LossScale::LossScale(bool adapts) : adapts_(adapts), state_(torch::empty({2}, torch::kFloat64)) {
  state_.data_ptr<double>()[0] = adapts ? kFirst : 1;
  state_.data_ptr<double>()[1] = 0;
}

double LossScale::update(bool overflowed) {
  if (!adapts_) return 1;
  auto* state = state_.data_ptr<double>();
  double& scale = state[0];
  double& steps = state[1];
  const double before = scale;
  steps += 1;
  if (overflowed) {
    scale = std::max(scale / 2, 1.0);
    steps = 0;
  } else if (steps >= static_cast<double>(kPatience)) {
    scale = std::min(2 * scale, kMost);
    steps = 0;
  }
  return scale / before;
}

LossScaleOnDevice::LossScaleOnDevice(const LossScale& host, torch::Device device) {
  if (host.adapts()) state_ = host.state().to(device, /*non_blocking=*/false, /*copy=*/true);
}

void LossScaleOnDevice::take(const LossScale& host) { state_.copy_(host.state()); }

void LossScaleOnDevice::update(const torch::Tensor& not_finite) {
  const torch::Tensor scale = state_[0], steps = state_[1] + 1;
  const torch::Tensor overflowed = not_finite.logical_and(scale.gt(1));
  const torch::Tensor quiet = steps.ge(static_cast<double>(LossScale::kPatience));
  const torch::Tensor risen = torch::where(quiet, (2 * scale).clamp_max(LossScale::kMost), scale);
  const torch::Tensor next = torch::where(overflowed, (scale / 2).clamp_min(1), risen);
  state_.copy_(torch::stack({next, steps * overflowed.logical_or(quiet).logical_not()}));
}

}  // namespace scorenet::optim
