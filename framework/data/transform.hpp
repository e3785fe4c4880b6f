// Between stored pixels and the range the models work in, and the one augmentation.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace scorenet::data {

/// uint8 level k -> x = 2 (k + 1/2) / 256 - 1 in float32, exactly: the centre of the level's bin in
/// [-1, 1]. VDM (Kingma et al. 2021, arXiv:2107.00630), so that bin k is [2 k / 256 - 1, 2 (k + 1)
/// / 256 - 1). Any shape.
torch::Tensor scale_to_unit_range(const torch::Tensor& levels);

/// The level whose bin holds x, clamped to 0..255: the inverse of scale_to_unit_range. Any shape,
/// floating point.
torch::Tensor levels_from_unit_range(const torch::Tensor& x);

/// Mirrors, in place, the last axis of each example that the draw of (seed, step, its slot)
/// chooses, with probability 1/2. examples: (B, ..., W), contiguous, uint8, float32 or float64;
/// slots: B.
void flip_for_slots(torch::Tensor& examples, const std::vector<int64_t>& slots, uint64_t seed,
                    int64_t step);

}  // namespace scorenet::data
