// Matrix products in bfloat16 with sums in float32, and what leads to and from them.
//
// A product reads one factor by rows of 32 numbers, 64 bytes, and the other as pairs: two numbers
// of a column side by side, 16 columns of 16 pairs one behind the other, 1 KiB. That is the form of
// a tile of Intel's AMX, and of avx512_bf16's products of pairs where there is no AMX. Rounding is
// to the nearest, ties to even.
#pragma once

#include <cstdint>

#include "models/cpu/tiles.hpp"
#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

constexpr int64_t kDepth = 32;                  // numbers of a row that a product takes at once
constexpr int64_t kPairTile = kDepth * kBlock;  // and numbers of the other factor
constexpr int64_t kTile = 16;                   // rows of a tile
constexpr int64_t whole_depths(int64_t n) { return (n + kDepth - 1) / kDepth * kDepth; }

enum class Bf16Unit { none, pairs, tiles };  // avx512_bf16; AMX
/// The best that this CPU and the kernel offer; `none` on other machines than x86.
Bf16Unit bf16_unit();
inline bool bf16_available() { return bf16_unit() != Bf16Unit::none; }

/// Makes products use at most this unit, process-wide: for tests. REQUIRES that the CPU has it.
void limit_bf16_unit(Bf16Unit most);

/// Sets the tiles of this thread up, and gives them back. To be held around products.
class Bf16Scope {
 public:
  Bf16Scope();
  ~Bf16Scope();
  Bf16Scope(const Bf16Scope&) = delete;
  Bf16Scope& operator=(const Bf16Scope&) = delete;

 private:
  bool tiles_;
};

/// c += or = sum over steps of (a's rows at a + offsets[step]) times (b's tile number `step`).
/// 16 or 32 rows, all of which must be readable, by 16 or 32 columns.
struct Bf16Product {
  const Bf16* a = nullptr;
  int64_t a_row = 0;  // from row to row
  const int64_t* offsets = nullptr;
  int64_t steps = 0;
  const Bf16* b = nullptr;
  int64_t b_block = 0;  // from the tiles of the first 16 columns to those of the next
  float* c = nullptr;
  int64_t c_row = 0;
  int64_t c_block = kBlock;  // from the first 16 columns to the next
  bool add = false;
  int64_t row_tiles = 1;
  int64_t blocks = 1;
};
void multiply(const Bf16Product& product);

/// Pixels [first, first + count) of the grid, numbered by rows of `pitch`, from c (count, 32):
/// target = c + add + residual for those inside `grid`. blocks: of 16 channels.
void write_pixels(const float* c, int64_t first, int64_t count, int64_t pitch, int64_t blocks,
                  Area grid, const Target& target);

/// `count` pixels of `channels` numbers, `step` floats apart: channels 32 j to 32 j + 31 of pixel i
/// to to + j chunk + 32 i, zero behind the last channel.
void round_pixels(const float* from, int64_t step, int64_t count, int64_t channels, Bf16* to,
                  int64_t chunk);

/// (count, 32) to 32 rows of `count` numbers, `row` apart. count: a multiple of 32.
void transpose_pixels(const Bf16* from, int64_t count, Bf16* to, int64_t row);

/// (count, 32) to pairs of rows: of columns 0 to 15 at `to`, of the rest at to + block. count is
/// even.
void pair_pixels(const Bf16* from, int64_t count, Bf16* to, int64_t block);

/// 16 rows of 32 numbers, one behind the other, to a tile: row n becomes column n of 16 pairs.
void pairs_of_rows(const Bf16* from, Bf16* to);

/// Rows of 16 floats, `row` apart, to pairs of rows; a last one without its like is paired with
/// zeros.
void pair_rows(const float* from, int64_t row, int64_t count, Bf16* to);

/// The same of the columns of at most 16 such rows: 8 pairs of columns, zero behind the rows.
void pair_columns(const float* from, int64_t row, int64_t count, Bf16* to);

}  // namespace scorenet::models::cpu
