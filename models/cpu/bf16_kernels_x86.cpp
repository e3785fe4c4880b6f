#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "models/cpu/bf16_kernels.hpp"
#include "models/instruction_limit.hpp"

// The instruction sets of single functions: the rest of the file runs on any CPU.
#define SCORENET_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"
#define SCORENET_PAIRS __attribute__((target(SCORENET_AVX512)))
#define SCORENET_TILES __attribute__((target(SCORENET_AVX512 ",amx-tile,amx-bf16")))

namespace scorenet::models::cpu {
namespace {

// Linux gives a process AMX's registers when it asks for them.
bool tiles_permitted() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Bf16Unit find_unit() {
  const InstructionLimit& limit = instruction_limit();
  if (!limit.bf16 || !__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return Bf16Unit::none;
  unsigned a = 7, b = 0, c = 0, d = 0;
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  const bool has_tiles = (d >> 22 & 1) != 0 && (d >> 24 & 1) != 0;  // amx_bf16, amx_tile
  return limit.amx && has_tiles && tiles_permitted() ? Bf16Unit::tiles : Bf16Unit::pairs;
}

std::atomic<Bf16Unit> most_unit{Bf16Unit::tiles};

// Eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// In memory: the compiler believes that loading it reads eight bytes.
const TileConfig tile_config;
SCORENET_TILES void load_tile_config() { _tile_loadconfig(&tile_config); }
SCORENET_TILES void release_tiles() { _tile_release(); }

// Sums in tiles 0 to 3, rows in 4 and 5, columns in 6 and 7: four products for four loads.
template <bool kTwoRows, bool kTwoBlocks>
SCORENET_TILES void multiply_tiles(const Bf16Product& p) {
  const int64_t a_row = p.a_row * 2, c_row = p.c_row * 4;
  float* const c1 = p.c + 16 * p.c_row;
  if (p.add) {
    _tile_loadd(0, p.c, c_row);
    if (kTwoBlocks) _tile_loadd(1, p.c + p.c_block, c_row);
    if (kTwoRows) _tile_loadd(2, c1, c_row);
    if (kTwoRows && kTwoBlocks) _tile_loadd(3, c1 + p.c_block, c_row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const Bf16* b = p.b;
  for (int64_t s = 0; s < p.steps; ++s, b += kPairTile) {
    const Bf16* a = p.a + p.offsets[s];
    _tile_loadd(4, a, a_row);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (kTwoBlocks) {
      _tile_loadd(7, b + p.b_block, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (kTwoRows) {
      _tile_loadd(5, a + 16 * p.a_row, a_row);
      _tile_dpbf16ps(2, 5, 6);
      if (kTwoBlocks) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, p.c, c_row);
  if (kTwoBlocks) _tile_stored(1, p.c + p.c_block, c_row);
  if (kTwoRows) _tile_stored(2, c1, c_row);
  if (kTwoRows && kTwoBlocks) _tile_stored(3, c1 + p.c_block, c_row);
}

// Eight rows: with two blocks, 16 sums of the 32 registers.
constexpr int kRows = 8;

template <int kBlocks>
SCORENET_PAIRS void multiply_pairs(const Bf16Product& p) {
  for (int64_t first = 0; first < 16 * p.row_tiles; first += kRows) {
    __m512 sums[kRows][kBlocks];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int j = 0; j < kBlocks; ++j) {
        const float* c = p.c + (first + r) * p.c_row + j * p.c_block;
        sums[r][j] = p.add ? _mm512_loadu_ps(c) : _mm512_setzero_ps();
      }
    }
    const Bf16* b = p.b;
    for (int64_t s = 0; s < p.steps; ++s) {
      const Bf16* a0 = p.a + p.offsets[s] + first * p.a_row;
      const Bf16* const a3 = a0 + 3 * p.a_row;
      const Bf16* const a6 = a0 + 6 * p.a_row;
      for (int64_t k = 0; k < kDepth; k += 2, b += 2 * kBlock) {
        __m512bh columns[kBlocks];
#pragma GCC unroll 2
        for (int j = 0; j < kBlocks; ++j)
          columns[j] = (__m512bh)_mm512_loadu_si512(b + j * p.b_block);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const Bf16* const pair = (r < 3 ? a0 : r < 6 ? a3 : a6) + (r % 3) * p.a_row + k;
          int bits;
          __builtin_memcpy(&bits, pair, sizeof bits);
          const __m512bh row = (__m512bh)_mm512_set1_epi32(bits);
#pragma GCC unroll 2
          for (int j = 0; j < kBlocks; ++j)
            sums[r][j] = _mm512_dpbf16_ps(sums[r][j], row, columns[j]);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int j = 0; j < kBlocks; ++j)
        _mm512_storeu_ps(p.c + (first + r) * p.c_row + j * p.c_block, sums[r][j]);
    }
  }
}

template <int kBlocks>
SCORENET_PAIRS void write_run(const float* c, int64_t count, const float* add, float* out,
                              int64_t step, const float* residual, int64_t residual_step) {
  __m512 shift[kBlocks];
#pragma GCC unroll 2
  for (int j = 0; j < kBlocks; ++j)
    shift[j] = add != nullptr ? _mm512_loadu_ps(add + j * kBlock) : _mm512_setzero_ps();
  for (int64_t i = 0; i < count; ++i, c += kDepth, out += step) {
#pragma GCC unroll 2
    for (int j = 0; j < kBlocks; ++j) {
      __m512 v = _mm512_add_ps(_mm512_loadu_ps(c + j * kBlock), shift[j]);
      if (residual != nullptr) v = _mm512_add_ps(v, _mm512_loadu_ps(residual + j * kBlock));
      _mm512_storeu_ps(out + j * kBlock, v);
    }
    if (residual != nullptr) residual += residual_step;
  }
}

// The lanes of a vector of which `left` numbers remain.
inline __mmask16 lanes_before(int64_t left) {
  return static_cast<__mmask16>((1u << std::clamp<int64_t>(left, 0, kBlock)) - 1);
}

SCORENET_PAIRS inline __m512i rounded(__m512 low, __m512 high) {
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

// Which of two vectors' 16-bit numbers make the pairs of columns 0 to 15, or 16 to 31.
SCORENET_PAIRS inline __m512i pair_order(int first) {
  alignas(64) uint16_t order[32];
  for (int i = 0; i < 16; ++i) {
    order[2 * i] = static_cast<uint16_t>(first + i);
    order[2 * i + 1] = static_cast<uint16_t>(32 + first + i);
  }
  return _mm512_load_si512(order);
}

// 16 vectors of 16 32-bit numbers, rows for columns.
SCORENET_PAIRS inline void transpose(__m512i (&v)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // Column 4 q + j of rows 4 g to 4 g + 3 is now the quarter q of v[4 g + j].
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88);
    const __m512i c = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xdd);
    t[j] = _mm512_shuffle_i32x4(a, b, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(a, b, 0xdd);
    t[4 + j] = _mm512_shuffle_i32x4(c, d, 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

SCORENET_PAIRS void round_run(const float* from, int64_t step, int64_t count, int64_t channels,
                              Bf16* to, int64_t chunk) {
  for (int64_t c = 0; c < channels; c += kDepth, to += chunk) {
    const __mmask16 low = lanes_before(channels - c), high = lanes_before(channels - c - kBlock);
    const float* pixel = from + c;
    for (int64_t i = 0; i < count; ++i, pixel += step) {
      _mm512_storeu_si512(to + i * kDepth, rounded(_mm512_maskz_loadu_ps(low, pixel),
                                                   _mm512_maskz_loadu_ps(high, pixel + kBlock)));
    }
  }
}

SCORENET_PAIRS void transpose_run(const Bf16* from, int64_t count, Bf16* to, int64_t row) {
  const __m512i orders[2] = {pair_order(0), pair_order(16)};
  for (int64_t i = 0; i < count; i += 32, from += 32 * kDepth) {
    for (int half = 0; half < 2; ++half) {
      __m512i v[16];
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) {
        v[r] = _mm512_permutex2var_epi16(_mm512_loadu_si512(from + 2 * r * kDepth), orders[half],
                                         _mm512_loadu_si512(from + (2 * r + 1) * kDepth));
      }
      transpose(v);
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) _mm512_storeu_si512(to + (half * kBlock + r) * row + i, v[r]);
    }
  }
}

SCORENET_PAIRS void pair_run(const Bf16* from, int64_t count, Bf16* to, int64_t block) {
  const __m512i low = pair_order(0), high = pair_order(16);
  for (int64_t i = 0; i < count; i += 2, from += 2 * kDepth, to += kDepth) {
    const __m512i a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + kDepth);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(a, low, b));
    _mm512_storeu_si512(to + block, _mm512_permutex2var_epi16(a, high, b));
  }
}

SCORENET_PAIRS void turn_rows(const Bf16* from, Bf16* to) {
  __m512i v[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = _mm512_loadu_si512(from + i * kDepth);
  transpose(v);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * kDepth, v[i]);
}

// The lower and upper half of a vector, number by number.
SCORENET_PAIRS inline __m512i half_order() {
  alignas(64) uint16_t order[32];
  for (int i = 0; i < 32; ++i) order[i] = static_cast<uint16_t>(i / 2 + i % 2 * 16);
  return _mm512_load_si512(order);
}

SCORENET_PAIRS void pair_float_rows(const float* from, int64_t row, int64_t count, Bf16* to) {
  const __m512i order = half_order();
  for (int64_t i = 0; i < count; i += 2, from += 2 * row, to += 2 * kBlock) {
    const __m512 second = i + 1 < count ? _mm512_loadu_ps(from + row) : _mm512_setzero_ps();
    const __m512i both = rounded(_mm512_loadu_ps(from), second);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, both));
  }
}

SCORENET_PAIRS void pair_float_columns(const float* from, int64_t row, int64_t count, Bf16* to) {
  const __m512i order = half_order();
  __m512i v[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    v[i] = i < count ? _mm512_loadu_si512(from + i * row) : _mm512_setzero_si512();
  transpose(v);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    const __m512i both = rounded(_mm512_castsi512_ps(v[i]), _mm512_castsi512_ps(v[i + 1]));
    _mm512_storeu_si512(to + i * kBlock, _mm512_permutexvar_epi16(order, both));
  }
}

}  // namespace

Bf16Unit bf16_unit() {
  static const Bf16Unit unit = find_unit();
  return std::min(unit, most_unit.load(std::memory_order_relaxed));
}

void limit_bf16_unit(Bf16Unit most) { most_unit = most; }

Bf16Scope::Bf16Scope() : tiles_(bf16_unit() == Bf16Unit::tiles) {
  if (tiles_) load_tile_config();
}
Bf16Scope::~Bf16Scope() {
  if (tiles_) release_tiles();
}

void multiply(const Bf16Product& p) {
  if (bf16_unit() == Bf16Unit::tiles) {
    if (p.row_tiles == 2) {
      p.blocks == 2 ? multiply_tiles<true, true>(p) : multiply_tiles<true, false>(p);
    } else {
      p.blocks == 2 ? multiply_tiles<false, true>(p) : multiply_tiles<false, false>(p);
    }
  } else {
    p.blocks == 2 ? multiply_pairs<2>(p) : multiply_pairs<1>(p);
  }
}

void write_pixels(const float* c, int64_t first, int64_t count, int64_t pitch, int64_t blocks,
                  Area grid, const Target& target) {
  const int64_t last = std::min(first + count, grid.height * pitch);
  for (int64_t q = first; q < last;) {
    const int64_t y = q / pitch, x = q % pitch;
    const int64_t next = std::min(last, (y + 1) * pitch);
    const int64_t inside = std::min(next - q, grid.width - x);
    if (inside > 0) {
      const float* residual =
          target.residual != nullptr
              ? target.residual + y * target.residual_row + x * target.residual_step
              : nullptr;
      const auto write = blocks == 2 ? write_run<2> : write_run<1>;
      write(c + (q - first) * kDepth, inside, target.add,
            target.pixel + y * target.row + x * target.step, target.step, residual,
            target.residual_step);
    }
    q = next;
  }
}

void round_pixels(const float* from, int64_t step, int64_t count, int64_t channels, Bf16* to,
                  int64_t chunk) {
  round_run(from, step, count, channels, to, chunk);
}

void transpose_pixels(const Bf16* from, int64_t count, Bf16* to, int64_t row) {
  transpose_run(from, count, to, row);
}

void pair_pixels(const Bf16* from, int64_t count, Bf16* to, int64_t block) {
  pair_run(from, count, to, block);
}

void pairs_of_rows(const Bf16* from, Bf16* to) { turn_rows(from, to); }

void pair_rows(const float* from, int64_t row, int64_t count, Bf16* to) {
  pair_float_rows(from, row, count, to);
}

void pair_columns(const float* from, int64_t row, int64_t count, Bf16* to) {
  pair_float_columns(from, row, count, to);
}

}  // namespace scorenet::models::cpu
