#include "framework/optim/loss_scale.hpp"

#include <ATen/ops/empty.h>

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

}  // namespace scorenet::optim
