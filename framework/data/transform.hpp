// Data augmentation: mirroring.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace scorenet::data {

/// Mirrors, in place, the last axis of each example that the draw of (seed, step, its slot)
/// chooses, with probability 1/2. examples: (B, ..., W), contiguous, uint8, float32 or
/// float64; slots: B.
void flip_for_slots(torch::Tensor& examples, const std::vector<int64_t>& slots, uint64_t seed,
                    int64_t step);

}  // namespace scorenet::data
