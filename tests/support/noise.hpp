// Normal numbers and weights in general position, for tests of networks.
#pragma once

#include <torch/nn/module.h>

#include "framework/core/random.hpp"

namespace scorenet::test {

/// (count, shape...) standard normal numbers in float64. Row i depends on (step, first + i) alone,
/// so that parts of a batch can be drawn one by one.
inline torch::Tensor noise(uint64_t step, int64_t count, c10::IntArrayRef shape,
                           int64_t first = 0) {
  return normal_for_slots({5, RandomStream::synthetic_data, step}, slot_range(first, count), shape,
                          torch::kFloat64);
}

/// Moves every weight: initial ones are zero in places, which would hide wrong gradients.
inline void perturb(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  uint64_t step = 100;
  for (auto& p : module.parameters()) p += 0.3 * noise(step++, 1, p.sizes())[0];
}

}  // namespace scorenet::test
