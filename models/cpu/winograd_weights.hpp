// The weights of Winograd's tiles (winograd.hpp): G k G^T, and the transpose of that map for their
// gradient.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// U = G k G^T for 16 kernels at once, with tiles of `side` pixels. Entry e of the kernels is the
/// 16 numbers at kernels + 16 e step; with step -1 and a pointer to the last entry the kernel is
/// turned around. Number p of U goes to the 16 floats at to + p plane.
void winograd_weights(int64_t side, const float* kernels, int64_t step, int64_t plane, float* to);

/// dk = G^T dU G for 16 kernels: entry e goes to kernels + 16 e.
void winograd_kernels(int64_t side, const float* u, int64_t plane, float* kernels);

}  // namespace scorenet::models::cpu
