// How a whole batch's pixels are shared out where a block works on some channels of many pixels:
// for add_and_sum.cu, gelu.cu and join_parts.cu.
#pragma once

#include <algorithm>

#include "models/kernels/channels_last_packs.cuh"

namespace scorenet::models::kernels {
namespace {

// A block has `columns` packs of channels, the blockIdx.y-th such part, and `rows` pixels at a
// time.
struct Spread {
  int columns, rows, parts;
  bool packed;
};

inline Spread make_spread(const ImageShape& shape, bool aligned) {
  const int whole = 16 / element_bytes(shape.element);
  const bool packed = aligned && shape.channels % whole == 0;
  const int packs = static_cast<int>(shape.channels) / (packed ? whole : 1);
  const int columns = std::min(packs, 64);
  return {columns, kThreads / columns, ceil_div(packs, columns), packed};
}

constexpr int kSumCount = 8;    // packs that a thread has under way
constexpr int kMostSums = 512;  // blocks of pixels: about four a multiprocessor

inline int64_t total_pixels(const ImageShape& shape) { return shape.batch * shape.pixels; }

// Adds up a block's rows' sums of each channel and writes them to row blockIdx.x of partial. own:
// kThreads kPack floats of shared memory.
template <int kPack>
__device__ void spread_sums(const float (&sum)[kPack], const ImageShape& shape,
                            const Spread& spread, float* own, float* partial) {
  const int column = static_cast<int>(threadIdx.x) % spread.columns,
            row = static_cast<int>(threadIdx.x) / spread.columns;
  const int channel = (static_cast<int>(blockIdx.y) * spread.columns + column) * kPack;
#pragma unroll
  for (int k = 0; k < kPack; ++k) own[k * kThreads + static_cast<int>(threadIdx.x)] = sum[k];
  __syncthreads();
  if (row != 0 || channel >= static_cast<int>(shape.channels)) return;
#pragma unroll
  for (int k = 0; k < kPack; ++k) {
    float all = 0.0f;
    for (int r = 0; r < spread.rows; ++r) all += own[k * kThreads + r * spread.columns + column];
    partial[static_cast<int64_t>(blockIdx.x) * shape.channels + channel + k] = all;
  }
}

}  // namespace
}  // namespace scorenet::models::kernels
