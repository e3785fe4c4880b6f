#include "models/cpu/tiles.hpp"

#include <algorithm>

#include "models/cpu/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "models/cpu/tiles.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace scorenet::models::cpu {
namespace HWY_NAMESPACE {
namespace {

#include "models/cpu/vector.inl"

constexpr int kVectors = kBlock / kLanes;  // of a block

// A tile holds its sums in registers: 28 of 32, or 12 of 16, so that the factors have the rest.
#if HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr int kSums = 28;
#else
constexpr int kSums = 12;
#endif
constexpr int most_rows(int blocks) { return std::clamp(kSums / (blocks * kVectors), 1, 14); }
// The most blocks that leave a tile several rows: what is loaded is used as often.
constexpr int kMostBlocks = kSums / kVectors >= 12 ? 4 : kSums / kVectors >= 6 ? 2 : 1;

template <int kRows, int kBlocks>
struct Sums {
  V v[kRows][kBlocks * kVectors];

  HWY_INLINE void clear() {
    const D d;
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(16)
      for (int b = 0; b < kBlocks * kVectors; ++b) v[r][b] = hn::Zero(d);
    }
  }
  // Blocks are `block` floats apart.
  HWY_INLINE void load(const float* from, int64_t row, int64_t block) {
    const D d;
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(16)
      for (int b = 0; b < kBlocks * kVectors; ++b)
        v[r][b] = hn::LoadU(d, from + r * row + (b / kVectors) * block + (b % kVectors) * kLanes);
    }
  }
  HWY_INLINE void store(float* to, int64_t row, int64_t block) const {
    const D d;
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(16)
      for (int b = 0; b < kBlocks * kVectors; ++b)
        hn::StoreU(v[r][b], d, to + r * row + (b / kVectors) * block + (b % kVectors) * kLanes);
    }
  }
};

// Row r of a factor whose rows are `step` floats apart. Every third has a pointer of its own: the
// addresses then fit in the processor's registers and its addressing modes.
struct Rows {
  const float* at[5];
  int64_t step;
  HWY_INLINE Rows(const float* first, int64_t apart)
      : at{first, first + 3 * apart, first + 6 * apart, first + 9 * apart, first + 12 * apart},
        step(apart) {}
  HWY_INLINE const float* row(int r) const { return at[r / 3] + (r % 3) * step; }
  template <int kRows>
  HWY_INLINE void next() {
    HWY_UNROLL(5)
    for (int i = 0; i < (kRows + 2) / 3; ++i) ++at[i];
  }
};

// ahead: weights that are read soon. They come from far away, and no processor foresees them.
template <int kRows, int kBlocks>
HWY_INLINE void add_products(Sums<kRows, kBlocks>& sums, const float* x, int64_t step,
                             int64_t depth, const float* weights, int64_t block, int64_t ahead) {
  const D d;
  Rows rows(x, step);
  for (int64_t k = 0; k < depth; ++k) {
    __builtin_prefetch(weights + ahead, 0, 2);
    V w[kBlocks * kVectors];
    HWY_UNROLL(16)
    for (int b = 0; b < kBlocks * kVectors; ++b)
      w[b] = hn::LoadU(d, weights + (b / kVectors) * block + (b % kVectors) * kLanes);
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      const V a = hn::Set(d, *rows.row(r));
      HWY_UNROLL(16)
      for (int b = 0; b < kBlocks * kVectors; ++b) sums.v[r][b] = hn::MulAdd(a, w[b], sums.v[r][b]);
    }
    weights += kBlock;
    rows.template next<kRows>();
  }
}

template <int kRows, int kBlocks>
HWY_NOINLINE void multiply_tile(const Tap* taps, int64_t count, int64_t y, int64_t x, int64_t block,
                                int64_t ahead, const Target& target) {
  const D d;
  Sums<kRows, kBlocks> sums;
  sums.clear();
  for (int64_t t = 0; t < count; ++t) {
    const Tap& tap = taps[t];
    add_products<kRows, kBlocks>(sums, tap.pixel + y * tap.row + x * tap.step, tap.step, tap.depth,
                                 tap.weights + block * tap.block, tap.block, ahead * tap.block);
  }
  float* const out = target.pixel + y * target.row + x * target.step + block * kBlock;
  if (target.add != nullptr) {
    const float* add = target.add + block * kBlock;
    HWY_UNROLL(16)
    for (int b = 0; b < kBlocks * kVectors; ++b) {
      const V a = hn::LoadU(d, add + b * kLanes);
      HWY_UNROLL(16)
      for (int r = 0; r < kRows; ++r) sums.v[r][b] = hn::Add(sums.v[r][b], a);
    }
  }
  if (target.residual != nullptr) {
    const float* residual =
        target.residual + y * target.residual_row + x * target.residual_step + block * kBlock;
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(16)
      for (int b = 0; b < kBlocks * kVectors; ++b) {
        sums.v[r][b] =
            hn::Add(sums.v[r][b], hn::LoadU(d, residual + r * target.residual_step + b * kLanes));
      }
    }
  }
  sums.store(out, target.step, kBlock);
}

using TileFunction = void (*)(const Tap*, int64_t, int64_t, int64_t, int64_t, int64_t,
                              const Target&);

// The tile of `rows` rows, 1 to kRows.
template <int kBlocks, int kRows = most_rows(kBlocks)>
TileFunction tile_of(int64_t rows) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return tile_of<kBlocks, kRows - 1>(rows);
  }
  return multiply_tile<kRows, kBlocks>;
}

template <int kBlocks>
void multiply_blocks(const Tap* taps, int64_t count, Area area, int64_t block,
                     const Target& target) {
  constexpr int64_t kMost = most_rows(kBlocks);
  const int64_t tiles = (area.width + kMost - 1) / kMost;
  const TileFunction small = tile_of<kBlocks>(area.width / tiles);
  const TileFunction large = tile_of<kBlocks>((area.width + tiles - 1) / tiles);
  const int64_t larger = area.width % tiles;  // tiles with one row more
  int64_t done = 0;
  for (int64_t y = 0; y < area.height; ++y) {
    int64_t x = 0;
    for (int64_t i = 0; i < tiles; ++i, ++done) {
      // The first tiles fetch the weights of the next blocks, a block each.
      const int64_t ahead = done < kBlocks ? kBlocks + done : 0;
      (i < larger ? large : small)(taps, count, y, x, block, ahead, target);
      x += area.width / tiles + (i < larger ? 1 : 0);
    }
  }
}

// How many blocks a tile should have: as many as keep rows enough.
int64_t blocks_for(int64_t width, int64_t blocks) {
  if (kMostBlocks >= 4 && blocks >= 4 && width <= most_rows(4)) return 4;
  if (kMostBlocks >= 2 && blocks >= 2 && (kVectors == 1 || width <= most_rows(2))) return 2;
  return 1;
}

void MultiplyTaps(const Tap* taps, int64_t count, Area area, int64_t first, int64_t last,
                  const Target& target) {
  for (int64_t block = first; block < last;) {
    const int64_t blocks = blocks_for(area.width, last - block);
    if constexpr (kMostBlocks >= 4) {
      if (blocks == 4) multiply_blocks<4>(taps, count, area, block, target);
    }
    if constexpr (kMostBlocks >= 2) {
      if (blocks == 2) multiply_blocks<2>(taps, count, area, block, target);
    }
    if (blocks == 1) multiply_blocks<1>(taps, count, area, block, target);
    block += blocks;
  }
}

template <int kRows, int kBlocks>
HWY_NOINLINE void add_outer_tile(const OuterProduct& product, Area area, const OuterShape& shape,
                                 int64_t row, int64_t block) {
  const D d;
  Sums<kRows, kBlocks> sums;
  float* const sum = product.sum + row * shape.sum_row + block * shape.sum_block;
  if (shape.first) {
    sums.clear();
  } else {
    sums.load(sum, shape.sum_row, shape.sum_block);
  }
  for (int64_t y = 0; y < area.height; ++y) {
    const float* x = product.x + y * shape.x_row + row;
    const float* g = product.d + y * shape.d_row + block * kBlock;
    for (int64_t i = 0; i < area.width; ++i) {
      V w[kBlocks * kVectors];
      HWY_UNROLL(16)
      for (int b = 0; b < kBlocks * kVectors; ++b) w[b] = hn::LoadU(d, g + b * kLanes);
      HWY_UNROLL(16)
      for (int r = 0; r < kRows; ++r) {
        const V a = hn::Set(d, x[r]);
        HWY_UNROLL(16)
        for (int b = 0; b < kBlocks * kVectors; ++b)
          sums.v[r][b] = hn::MulAdd(a, w[b], sums.v[r][b]);
      }
      x += shape.x_step;
      g += shape.d_step;
    }
  }
  sums.store(sum, shape.sum_row, shape.sum_block);
}

using OuterFunction = void (*)(const OuterProduct&, Area, const OuterShape&, int64_t, int64_t);

template <int kBlocks, int kRows = most_rows(kBlocks)>
OuterFunction outer_of(int64_t rows) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return outer_of<kBlocks, kRows - 1>(rows);
  }
  return add_outer_tile<kRows, kBlocks>;
}

template <int kBlocks>
void add_outer_blocks(const OuterProduct* products, int64_t count, Area area,
                      const OuterShape& shape, int64_t block) {
  constexpr int64_t kMost = most_rows(kBlocks);
  const int64_t tiles = (shape.rows + kMost - 1) / kMost;
  for (int64_t i = 0, row = 0; i < tiles; ++i) {
    const int64_t rows = shape.rows / tiles + (i < shape.rows % tiles ? 1 : 0);
    const OuterFunction tile = outer_of<kBlocks>(rows);
    // The products share these rows of x, shifted, which are in the nearest cache by now.
    for (int64_t p = 0; p < count; ++p) tile(products[p], area, shape, row, block);
    row += rows;
  }
}

void AddOuterProducts(const OuterProduct* products, int64_t count, Area area,
                      const OuterShape& shape) {
  constexpr int kWide = kVectors == 1 ? 2 : 1;
  int64_t block = 0;
  for (; block + kWide <= shape.blocks; block += kWide)
    add_outer_blocks<kWide>(products, count, area, shape, block);
  if (block < shape.blocks) add_outer_blocks<1>(products, count, area, shape, block);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace scorenet::models::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace scorenet::models::cpu {

HWY_EXPORT(MultiplyTaps);
HWY_EXPORT(AddOuterProducts);

void multiply_taps(const Tap* taps, int64_t count, Area area, int64_t first, int64_t last,
                   const Target& target) {
  HWY_DYNAMIC_DISPATCH(MultiplyTaps)(taps, count, area, first, last, target);
}

void add_outer_products(const OuterProduct* products, int64_t count, Area area,
                        const OuterShape& shape) {
  HWY_DYNAMIC_DISPATCH(AddOuterProducts)(products, count, area, shape);
}

}  // namespace scorenet::models::cpu
#endif
