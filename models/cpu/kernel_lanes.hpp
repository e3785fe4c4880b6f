// Weights, whose rows are output channels, as vectors of 16 channels, and back.
//
// A weight is (out, in, entries). Lane l of a vector is the number at l stride behind its first:
// 16 output channels of one input's entry, or 16 input channels of one output's.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// to[16 i + l] = from[l stride + i] for l < lanes, else 0; 0 <= i < count.
void gather_lanes(const float* from, int64_t stride, int64_t lanes, int64_t count, float* to);

/// to[l stride + i] = from[16 i + l] for l < lanes.
void scatter_lanes(const float* from, int64_t stride, int64_t lanes, int64_t count, float* to);

}  // namespace scorenet::models::cpu
