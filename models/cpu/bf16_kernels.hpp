// Matrix products in bfloat16 with sums in float32, and the conversions to and from their factors.
//
// A product reads its first factor in rows of 32 numbers (64 bytes). It reads the second as tiles
// of 1 KiB: 16 rows of 16 pairs, where a pair is two consecutive numbers of one column. Intel's AMX
// and the instructions of avx512_bf16 both want this form. Rounding is to the nearest, ties to
// even.
#pragma once

#include <cstdint>

#include "models/cpu/tiles.hpp"
#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

constexpr int64_t kDepth = 32;                  // numbers of a row that one step of a product reads
constexpr int64_t kPairTile = kDepth * kBlock;  // numbers of the second factor that it reads
constexpr int64_t kTile = 16;                   // rows of a tile of results
constexpr int64_t whole_depths(int64_t n) { return (n + kDepth - 1) / kDepth * kDepth; }

enum class Bf16Unit { none, pairs, tiles };  // avx512_bf16; AMX
/// The best that this CPU, Linux and instruction_limit.hpp allow; `none` where it is not x86.
Bf16Unit bf16_unit();
inline bool bf16_available() { return bf16_unit() != Bf16Unit::none; }

/// For tests: makes the products of the whole process use at most this unit. REQUIRES that the CPU
/// has it.
void limit_bf16_unit(Bf16Unit most);

/// Sets up this thread's AMX tiles while it lives. Hold one around calls of multiply().
class Bf16Scope {
 public:
  Bf16Scope();
  ~Bf16Scope();
  Bf16Scope(const Bf16Scope&) = delete;
  Bf16Scope& operator=(const Bf16Scope&) = delete;

 private:
  bool tiles_;
};

/// c = (or +=, with `add`) the sum over steps s of the rows of a at a + offsets[s] times tile s of
/// b. c has 16 row_tiles rows and 16 blocks columns; row_tiles and blocks are 1 or 2. All 16 rows
/// of each tile of a must be readable.
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

/// Writes c (count, 32) to the target's pixels: target = c + add + residual. Row i of c belongs to
/// pixel number first + i, where a row of the image has `pitch` numbers; those outside `grid` are
/// left out. blocks: how many blocks of 16 channels are written, 1 or 2.
void write_pixels(const float* c, int64_t first, int64_t count, int64_t pitch, int64_t blocks,
                  Area grid, const Target& target);

/// Rounds `count` pixels of `channels` numbers, `step` floats apart. Channels 32 j to 32 j + 31 of
/// pixel i go to to + j chunk + 32 i, with zeros behind the last channel.
void round_pixels(const float* from, int64_t step, int64_t count, int64_t channels, Bf16* to,
                  int64_t chunk);

/// Transposes (count, 32) to 32 rows of `count` numbers, `row` apart. count: a multiple of 32.
void transpose_pixels(const Bf16* from, int64_t count, Bf16* to, int64_t row);

/// Pairs the rows of (count, 32): columns 0 to 15 go to `to`, the others to to + block. count:
/// even.
void pair_pixels(const Bf16* from, int64_t count, Bf16* to, int64_t block);

/// Makes a tile of 16 consecutive rows of 32 numbers: row n becomes column n, as 16 pairs.
void pairs_of_rows(const Bf16* from, Bf16* to);

/// Rounds and pairs `count` rows of 16 floats, `row` apart. An odd last row is paired with zeros.
void pair_rows(const float* from, int64_t row, int64_t count, Bf16* to);

/// Rounds at most 16 such rows and pairs their columns: 8 pairs of columns, with zeros behind the
/// last row.
void pair_columns(const float* from, int64_t row, int64_t count, Bf16* to);

}  // namespace scorenet::models::cpu
