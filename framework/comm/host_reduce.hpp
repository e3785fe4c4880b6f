// Element-wise reduction of two arrays in host memory, for back ends whose library cannot do it.
#pragma once

#include <cstdint>

#include "framework/comm/communicator.hpp"

namespace scorenet::comm {

/// inout[i] = op(in[i], inout[i]) for i < count; the arrays may not overlap. float16 and bfloat16
/// are added in float32 and rounded to nearest even.
void reduce_into(const void* in, void* inout, int64_t count, DataType type, ReduceOp op);

/// bfloat16: the upper half of a float32 (8 exponent bits, 7 fraction bits).
float float_from_bfloat16(uint16_t bits);
uint16_t bfloat16_from_float(float value);

}  // namespace scorenet::comm
