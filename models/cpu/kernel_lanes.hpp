// Weights as vectors of 16 channels, and back: a transposition of strided rows.
//
// A weight tensor is (out, in, entries). The lanes of a vector are numbers that lie `stride` apart:
// one entry for 16 output channels, or one entry for 16 input channels.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// to[16 i + l] = from[l stride + i] for l < lanes, else 0; 0 <= i < count.
void gather_lanes(const float* from, int64_t stride, int64_t lanes, int64_t count, float* to);

/// to[l stride + i] = from[16 i + l] for l < lanes.
void scatter_lanes(const float* from, int64_t stride, int64_t lanes, int64_t count, float* to);

}  // namespace scorenet::models::cpu
