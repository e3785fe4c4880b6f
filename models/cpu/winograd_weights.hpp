// The weights of Winograd's tiles (winograd.hpp): G k G^T, and its transpose for their gradient.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// U = G k G^T of 16 kernels for tiles of `side` pixels. Entries of a kernel are `step` blocks of
/// 16 numbers apart (-1: the kernel backward, from its last entry on). Number p of U goes to
/// to + p plane.
void winograd_weights(int64_t side, const float* kernels, int64_t step, int64_t plane, float* to);

/// dk = G^T dU G of 16 kernels: the nine entries one behind the other.
void winograd_kernels(int64_t side, const float* u, int64_t plane, float* kernels);

}  // namespace scorenet::models::cpu
