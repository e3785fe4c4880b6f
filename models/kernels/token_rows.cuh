// A token's channels in the registers of one warp: for token_norm.cu and token_gate.cu.
#pragma once

#include <algorithm>

#include "models/kernels/channels_last_packs.cuh"
#include "models/kernels/token_kernels.hpp"

namespace scorenet::models::kernels {
namespace {

constexpr int kTokenWarps = 4;  // of a block
constexpr int kTokenThreads = kTokenWarps * kWarp;
constexpr int kMostRounds = 8;  // packs of a lane

// Lane l has packs l, l + 32, ...; `kRounds` of them, of which the last may lie behind the row.
template <class E, int kRounds>
struct TokenRow {
  static constexpr int kPack = kWholePack<E>;
  using P = Pack<E, kPack>;
  static constexpr int kPer = P::kPerWord;
  static constexpr int kValues = kRounds * kPack;
  P packs[kRounds];

  static __device__ int channel(int round) { return (round * kWarp + lane()) * kPack; }

  __device__ void load(const void* data, int64_t first, int64_t channels) {
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
      packs[i].clear();
      if (channel(i) < channels) packs[i].load(data, static_cast<size_t>(first + channel(i)));
    }
  }
  __device__ void store(void* data, int64_t first, int64_t channels) const {
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
      if (channel(i) < channels) packs[i].store(data, static_cast<size_t>(first + channel(i)));
    }
  }
  // Value k of the kValues that this lane has: those of pack k / kPack.
  __device__ float operator[](int k) const {
    const int in_pack = k % kPack;
    return packs[k / kPack].value(in_pack / kPer, in_pack % kPer);
  }
  // f(k) for every k.
  template <class F>
  __device__ void fill(const F& f) {
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
#pragma unroll
      for (int w = 0; w < P::kWords; ++w) {
        float values[kPer];
#pragma unroll
        for (int j = 0; j < kPer; ++j) values[j] = f(i * kPack + w * kPer + j);
        packs[i].set(w, values);
      }
    }
  }
  static __device__ bool is_there(int k, int64_t channels) { return channel(k / kPack) < channels; }
};

// This lane's channels of a row of float32; zeros behind it.
template <class E, int kRounds>
__device__ void load_numbers(float (&own)[kRounds * kWholePack<E>], const float* numbers,
                             int64_t channels) {
  using Row = TokenRow<E, kRounds>;
#pragma unroll
  for (int k = 0; k < Row::kValues; ++k) {
    const int channel = Row::channel(k / Row::kPack) + k % Row::kPack;
    own[k] = channel < channels ? numbers[channel] : 0.0f;
  }
}

// The tokens of image blockIdx.y that this warp has of part blockIdx.x.
struct TokenShare {
  int64_t image, first, end, step;

  __device__ explicit TokenShare(const TokenShape& shape)
      : image(blockIdx.y),
        first(static_cast<int64_t>(blockIdx.x) * warps() + warp()),
        end(shape.tokens),
        step(static_cast<int64_t>(gridDim.x) * warps()) {}
};

// Adds up a block's warps' sums of each channel and writes them to out (C).
template <class E, int kRounds>
__device__ void write_block_sums(const float (&own)[kRounds * kWholePack<E>], int64_t channels,
                                 float* memory, float* out) {
  using Row = TokenRow<E, kRounds>;
  __syncthreads();  // the memory may still be read
#pragma unroll
  for (int k = 0; k < Row::kValues; ++k) {
    if (Row::is_there(k, channels))
      memory[warp() * channels + Row::channel(k / Row::kPack) + k % Row::kPack] = own[k];
  }
  __syncthreads();
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
    float sum = 0.0f;
    for (int w = 0; w < warps(); ++w) sum += memory[w * channels + c];
    out[c] = sum;
  }
}

inline int rounds_of(const TokenShape& shape) {
  const int packs = static_cast<int>(shape.channels) * element_bytes(shape.element) / 16;
  return ceil_div(packs, kWarp);
}

inline dim3 parts_and_images(const TokenShape& shape) {
  return {static_cast<unsigned>(token_parts(shape)), static_cast<unsigned>(shape.batch), 1};
}

inline size_t sum_memory(const TokenShape& shape) {
  return sizeof(float) * kTokenWarps * static_cast<size_t>(shape.channels);
}

// f(E{}, rounds) with rounds an integral constant of at least rounds_of(shape).
template <class F>
LaunchError by_rows(const TokenShape& shape, const F& f) {
  const int rounds = rounds_of(shape);
  return by_element(shape.element, [&](auto element) {
    if (rounds <= 1) return f(element, std::integral_constant<int, 1>());
    if (rounds <= 2) return f(element, std::integral_constant<int, 2>());
    if (rounds <= 4) return f(element, std::integral_constant<int, 4>());
    return f(element, std::integral_constant<int, kMostRounds>());
  });
}

}  // namespace
}  // namespace scorenet::models::kernels
