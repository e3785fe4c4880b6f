// What the CUDA kernels of the GPU route share: elements in packs of 16 bytes, sums over a warp,
// and how a kernel is launched. For this folder's .cu files.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "models/kernels/channels_last_kernels.hpp"

namespace scorenet::models::kernels {
namespace {

// ---- Elements: neighbours of a pixel are moved 16 bytes at a time, in words of 32 bits.

struct Float32 {
  static constexpr int kBytes = 4;
  static __device__ float low(uint32_t word) { return __uint_as_float(word); }
  static __device__ float high(uint32_t) { return 0.0f; }
  static __device__ uint32_t pack(float low, float) { return __float_as_uint(low); }
};

struct Bfloat16 {
  static constexpr int kBytes = 2;
  static __device__ float low(uint32_t word) { return __uint_as_float(word << 16); }
  static __device__ float high(uint32_t word) { return __uint_as_float(word & 0xffff0000u); }
  static __device__ uint32_t pack(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
};

struct Float16 {
  static constexpr int kBytes = 2;
  static __device__ float2 both(uint32_t word) {
    return __half22float2(*reinterpret_cast<const __half2*>(&word));
  }
  static __device__ float low(uint32_t word) { return both(word).x; }
  static __device__ float high(uint32_t word) { return both(word).y; }
  static __device__ uint32_t pack(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
};

// `kSize` neighbouring channels of a pixel: 16 bytes, or one channel where those do not fit.
template <class E, int kSize>
struct Pack {
  static constexpr bool kWhole = kSize > 1;
  static constexpr int kWords = kWhole ? 4 : 1;
  static constexpr int kPerWord = kWhole ? 4 / E::kBytes : 1;
  uint32_t words[kWords];

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = 0;
  }
  __device__ void load(const void* data, size_t element) {
    const char* from = static_cast<const char*>(data) + element * E::kBytes;
    if constexpr (kWhole) {
      set(*reinterpret_cast<const uint4*>(from));
    } else if constexpr (E::kBytes == 2) {
      words[0] = *reinterpret_cast<const uint16_t*>(from);
    } else {
      words[0] = *reinterpret_cast<const uint32_t*>(from);
    }
  }
  __device__ void store(void* data, size_t element) const {
    char* to = static_cast<char*>(data) + element * E::kBytes;
    if constexpr (kWhole) {
      *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
    } else if constexpr (E::kBytes == 2) {
      *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(words[0]);
    } else {
      *reinterpret_cast<uint32_t*>(to) = words[0];
    }
  }
  __device__ void set(uint4 v) { words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w; }
  // Channel j of the kPerWord in word w.
  __device__ float value(int w, int j) const {
    return j == 0 ? E::low(words[w]) : E::high(words[w]);
  }
  __device__ void set(int w, const float (&values)[kPerWord]) {
    words[w] = E::pack(values[0], values[kPerWord - 1]);
  }
  __device__ void add(const Pack& other) {
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      float sum[kPerWord];
#pragma unroll
      for (int j = 0; j < kPerWord; ++j) sum[j] = value(w, j) + other.value(w, j);
      set(w, sum);
    }
  }
};

constexpr int kWarp = 32;
constexpr int kThreads = 256;  // of a block, where nothing asks for another number

inline int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }
inline int ceil_div(int n, int d) { return (n + d - 1) / d; }

inline int element_bytes(Element element) { return element == Element::float32 ? 4 : 2; }

inline bool is_aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

// The same sum in every lane.
inline __device__ float warp_sum(float value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

inline __device__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
inline __device__ int warp() { return static_cast<int>(threadIdx.x) / kWarp; }
inline __device__ int warps() { return static_cast<int>(blockDim.x) / kWarp; }

template <class E>
constexpr int kWholePack = 16 / E::kBytes;

// f(E{}) with E the element.
template <class F>
LaunchError by_element(Element element, const F& f) {
  switch (element) {
    case Element::float32:
      return f(Float32{});
    case Element::bfloat16:
      return f(Bfloat16{});
    default:
      return f(Float16{});
  }
}

template <class... Parameters, class... Arguments>
LaunchError launch(void (*kernel)(Parameters...), dim3 blocks, int threads, size_t shared_bytes,
                   Stream stream, const Arguments&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace
}  // namespace scorenet::models::kernels
