// Passes over the rows of a matrix: to bfloat16, from bfloat16, and their sum.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

struct RowsShape {
  int64_t rows, channels;
};

/// Adds `bias` (channels; null: none) to rows of bfloat16, which are `step` numbers apart, and
/// writes them as the chunks that products read (round_pixels() in bf16_kernels.hpp): channels
/// 32 j to 32 j + 31 of row i at to + j chunk + 32 i, with zeros behind the last channel.
void round_behind_bias(const Bf16* from, int64_t step, RowsShape shape, const float* bias, Bf16* to,
                       int64_t chunk);

/// Rounds rows of float32, `from_step` apart, to bfloat16 rows, `step` apart. sums (channels) gets
/// the sum over the rows before they are rounded; null: not wanted.
void round_rows(const float* from, int64_t from_step, RowsShape shape, Bf16* to, int64_t step,
                float* sums);

/// out[c] = sum over rows of table (rows, columns), in their order.
void sum_rows(const float* table, int64_t rows, int64_t columns, float* out);

}  // namespace scorenet::models::cpu
