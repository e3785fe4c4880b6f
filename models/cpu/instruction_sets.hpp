// Which instruction set the CPU kernels use: the best that the CPU has and
// models/instruction_limit.hpp allows.
#pragma once

#include <cstdint>

namespace scorenet::models::cpu {

/// The instruction sets that may be used here, as a sum of Highway's bits, such as HWY_AVX2. The
/// kernels keep to the best of them from the first call on.
int64_t usable_targets();

/// For tests: makes the kernels of the whole process use the best of `targets` instead. 0 undoes
/// it. REQUIRES that the CPU has that set.
void use_targets(int64_t targets);

/// Whether AVX2 with FMA, AVX-512 or NEON is among the usable sets. Without one of them the kernels
/// run, but slowly.
bool has_fast_target();

/// "AVX2", "AVX-512" or "NEON": the set in use. REQUIRES has_fast_target().
const char* fast_target_name();

}  // namespace scorenet::models::cpu
