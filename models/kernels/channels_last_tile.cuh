// How a group norm is cut into blocks, what its threads read and where they leave their sums:
// shared by the forward and the backward pass.
#pragma once

#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <numeric>

#include "models/kernels/channels_last_packs.cuh"

namespace scorenet::models::kernels {
namespace {

// A block has one image and a slice of its channels, whole groups of at least 32 bytes; its threads
// are `rows` times `columns`, a pack each, and walk down the pixels. A slice that fits is kept in
// shared memory and read from the device's memory once: statistics in two passes, then the result.
// Every thread reads there only what it copied itself. Larger images are read again for every pass.
// (In registers, unrolled, the compiler spilled up to 2000 bytes a thread.)
struct Tile {
  int columns;  // packs of a slice
  int rows;     // pixels at a time
  int slices;   // of an image
  int threads;
  int per_thread;      // pixels of a thread, at most
  int channels;        // of a slice
  int group_channels;  // of a group
  bool packed;         // 16 bytes a pack, or one channel
  bool cached;
  bool folds;  // lanes 16 apart have the same channels
  bool valid;
  size_t shared_bytes;
};

constexpr int kNormThreads = 256, kNormBlocks = 3;  // of a multiprocessor: at most 80 registers
constexpr size_t kUnaskedBytes = 48 * 1024;         // what a launch may have without asking

struct Limits {
  int slice_bytes;  // about
  int tensors;      // cached
  int sums;         // of each channel at a time
  int parameters;   // floats a channel in shared memory
};
// 64 bytes are two sectors of memory. A gradient keeps two tensors, in half the slice, so that
// three blocks of 32 x 32 pixels share a multiprocessor.
constexpr Limits kForward{64, 1, 1, 5};
constexpr Limits kBackward{32, 2, 2, 8};

// Enough for every thread to have a few packs, and for small images to have many blocks.
inline int norm_threads(int packs) {
  const int each = packs >= 2048 ? 16 : packs >= 1024 ? 8 : packs >= 256 ? 4 : 2;
  return std::min(round_up(ceil_div(packs, each), kWarp), kNormThreads);
}

inline Tile make_tile(const ImageShape& shape, int64_t groups, bool aligned, size_t most_shared,
                      const Limits& limits) {
  Tile tile{};
  const int bytes = element_bytes(shape.element), whole = 16 / bytes;
  const int channels = static_cast<int>(shape.channels), pixels = static_cast<int>(shape.pixels);
  tile.packed = aligned && channels % whole == 0;
  const int pack = tile.packed ? whole : 1;
  tile.group_channels = channels / static_cast<int>(groups);
  const int least = std::lcm(tile.group_channels, pack), most = channels / least;
  int times = std::clamp(limits.slice_bytes / (least * bytes), 1, most);
  while (most % times != 0) --times;
  tile.channels = least * times;
  tile.columns = tile.channels / pack;
  tile.slices = channels / tile.channels;
  if (tile.columns > kNormThreads) return tile;

  tile.threads = std::max(norm_threads(std::min(pixels, 1 << 16) * tile.columns),
                          round_up(tile.columns, kWarp));
  tile.rows = tile.threads / tile.columns;
  tile.per_thread = ceil_div(pixels, tile.rows);
  tile.folds = kWarp / 2 % tile.columns == 0;
  const int sums = tile.folds ? tile.threads / 2 : tile.threads;
  const size_t own = sizeof(float) * static_cast<size_t>(limits.sums * sums * pack +
                                                         limits.parameters * tile.channels);
  const size_t cache = size_t{16} * static_cast<size_t>(limits.tensors) *
                       static_cast<size_t>(tile.per_thread) * static_cast<size_t>(tile.threads);
  tile.cached = tile.packed && own + cache <= most_shared;
  tile.shared_bytes = tile.cached ? own + cache : own;
  tile.valid = own <= kUnaskedBytes;
  return tile;
}

// ---- Inside a block.

extern __shared__ uint4 block_memory[];  // what is cached, then sums and parameters

// Where a thread stands in its block's slice.
struct Place {
  __device__ Place(const Tile& tile, const ImageShape& shape, int pack)
      : image(static_cast<int64_t>(blockIdx.x) / tile.slices),
        first_channel(static_cast<int>(blockIdx.x % static_cast<unsigned>(tile.slices)) *
                      tile.channels),
        column(static_cast<int>(threadIdx.x) % tile.columns),
        row(static_cast<int>(threadIdx.x) / tile.columns),
        channel(column * pack) {
    const int pixels = static_cast<int>(shape.pixels);
    mine = row < tile.rows && row < pixels ? (pixels - row + tile.rows - 1) / tile.rows : 0;
    stride = static_cast<size_t>(tile.rows) * static_cast<size_t>(shape.channels);
    start = static_cast<size_t>(image * shape.pixels + row) * static_cast<size_t>(shape.channels) +
            static_cast<size_t>(first_channel + channel);
  }
  // Of the thread's i-th pixel.
  __device__ size_t element(int i) const { return start + static_cast<size_t>(i) * stride; }

  int64_t image;
  int first_channel;  // of the slice
  int column, row;
  int channel;  // of the thread, in the slice
  int mine;     // pixels of the thread
  size_t stride, start;
};

// Sums of every channel over the threads: where each leaves its own, and all of them.
struct RowSums {
  __device__ RowSums(float* memory, const Tile& tile, int pack)
      : own(memory),
        slots(tile.folds ? tile.threads / 2 : tile.threads),
        rows(tile.folds ? tile.rows / 2 : tile.rows),
        columns(tile.columns),
        pack(pack),
        folds(tile.folds) {}

  // The k-th channel of the thread's pack. By whole warps.
  __device__ void put(int k, float value) {
    int slot = static_cast<int>(threadIdx.x);
    if (folds) {
      value += __shfl_xor_sync(~0u, value, kWarp / 2);
      slot = slot / kWarp * (kWarp / 2) + lane();
      if (lane() >= kWarp / 2) return;
    }
    own[k * slots + slot] = value;
  }
  // By one warp, in every lane.
  __device__ float of_channel(int channel) const {
    const float* first = own + channel % pack * slots + channel / pack;
    float sum = 0.0f;
    for (int r = lane(); r < rows; r += kWarp) sum += first[r * columns];
    return warp_sum(sum);
  }
  __device__ float* end() const { return own + slots * pack; }

  float* own;  // [pack][rows][columns]
  int slots, rows, columns, pack;
  bool folds;
};

inline __device__ float sigmoid(float z) { return __fdividef(1.0f, 1.0f + __expf(-z)); }

// What a thread reads of one tensor: its pixels in turn, from shared memory if they are cached.
template <class E, int kPack, bool kCached>
struct Source {
  // `cache`: per_thread times threads packs.
  __device__ Source(const void* data, uint4* cache, const Place& place)
      : data(data), cache(cache + threadIdx.x), place(place) {}

  // All copies are under way at once, and need no registers.
  __device__ void fetch() const {
    for (int i = 0; i < place.mine; ++i) {
      const char* from = static_cast<const char*>(data) + place.element(i) * E::kBytes;
      __pipeline_memcpy_async(cache + i * static_cast<int>(blockDim.x), from, sizeof(uint4));
    }
  }
  template <int kCount>
  __device__ void load(Pack<E, kPack> (&packs)[kCount], int first) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      packs[i].clear();
      if (first + i >= place.mine) continue;
      if constexpr (kCached) {
        packs[i].set(cache[(first + i) * static_cast<int>(blockDim.x)]);
      } else {
        packs[i].load(data, place.element(first + i));
      }
    }
  }

  const void* data;
  uint4* cache;
  const Place& place;
};

template <bool kCached>
__device__ float* cache_end(const Tile& tile, int tensors) {
  return reinterpret_cast<float*>(block_memory +
                                  (kCached ? tensors * tile.per_thread * tile.threads : 0));
}

// What a block of the current device may ask for.
inline size_t most_shared_bytes() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess) {
    return kUnaskedBytes;
  }
  return static_cast<size_t>(bytes);
}

template <class Kernel, class Data>
LaunchError launch_norm(Kernel* kernel, const ImageShape& shape, const NormRule& rule,
                        const Tile& tile, const Data& data, Stream stream) {
  if (!tile.valid) return "a group's channels do not fit into a block's shared memory";
  if (tile.shared_bytes > kUnaskedBytes) {
    // The most, whatever this launch needs: another thread may be about to launch the same kernel.
    cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             static_cast<int>(most_shared_bytes()));
    if (error == cudaSuccess) {  // all of the memory that it shares with the cache: more blocks
      error = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                   cudaSharedmemCarveoutMaxShared);
    }
    if (error != cudaSuccess) return cudaGetErrorString(error);
  }
  const dim3 blocks(static_cast<unsigned>(shape.batch * tile.slices));
  return launch(kernel, blocks, tile.threads, tile.shared_bytes, stream, shape, rule, tile, data);
}

}  // namespace
}  // namespace scorenet::models::kernels
