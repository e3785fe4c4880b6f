#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <numeric>

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

// ---- How a group norm is cut into blocks.
//
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

constexpr int kWarp = 32;
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

int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }
int ceil_div(int n, int d) { return (n + d - 1) / d; }

int element_bytes(Element element) { return element == Element::float32 ? 4 : 2; }

bool is_aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

// Enough for every thread to have a few packs, and for small images to have many blocks.
int norm_threads(int packs) {
  const int each = packs >= 2048 ? 16 : packs >= 1024 ? 8 : packs >= 256 ? 4 : 2;
  return std::min(round_up(ceil_div(packs, each), kWarp), kNormThreads);
}

Tile make_tile(const ImageShape& shape, int64_t groups, bool aligned, size_t most_shared,
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

// The same sum in every lane.
__device__ float warp_sum(float value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

__device__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ int warp() { return static_cast<int>(threadIdx.x) / kWarp; }
__device__ int warps() { return static_cast<int>(blockDim.x) / kWarp; }

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

__device__ float sigmoid(float z) { return __fdividef(1.0f, 1.0f + __expf(-z)); }

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

// ---- Group norm, forward.

template <class E, int kPack, bool kCached>
__global__ void __launch_bounds__(kNormThreads, kNormBlocks)
    norm_forward(ImageShape shape, NormRule rule, Tile tile, NormForward data) {
  using P = Pack<E, kPack>;
  constexpr int kPer = P::kPerWord, kCount = 2;
  const Place place(tile, shape, kPack);
  const int channels = tile.channels, group_channels = tile.group_channels;
  const Source<E, kPack, kCached> source(data.x, block_memory, place);
  RowSums sums(cache_end<kCached>(tile, 1), tile, kPack);
  float* total = sums.end();         // sums over pixels, or squared deviations
  float* centre = total + channels;  // mean of a channel less that of its group
  float* zero = centre + channels;   // x where x_hat = 0
  float* scale = zero + channels;
  float* offset = scale + channels;
  float* statistics =
      data.statistics + 2 * (place.image * rule.groups + place.first_channel / group_channels);
  const float pixels = static_cast<float>(shape.pixels);
  const int groups = channels / group_channels;
  const size_t image_channel =
      static_cast<size_t>(place.image * shape.channels) + static_cast<size_t>(place.first_channel);

  if constexpr (kCached) {
    source.fetch();
    __pipeline_commit();
    __pipeline_wait_prior(0);
  }
  // Long sums are taken from a value near the mean, that of the first pixel.
  P reference;
  reference.clear();
  if constexpr (!kCached) {
    reference.load(data.x, static_cast<size_t>(place.image * shape.pixels * shape.channels) +
                               static_cast<size_t>(place.first_channel + place.channel));
  }
  float sum[kPack] = {};
  for (int first = 0; first < place.mine; first += kCount) {
    P x[kCount];
    source.load(x, first);
#pragma unroll
    for (int k = 0; k < kPack; ++k) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (first + i < place.mine) {
          sum[k] += x[i].value(k / kPer, k % kPer) - reference.value(k / kPer, k % kPer);
        }
      }
    }
  }
#pragma unroll
  for (int k = 0; k < kPack; ++k) {
    sums.put(k, sum[k]);
    if (!kCached && place.row == 0) {
      zero[place.channel + k] = reference.value(k / kPer, k % kPer);
    }
  }
  __syncthreads();
  for (int c = warp(); c < channels; c += warps()) {
    const float all = sums.of_channel(c);
    if (lane() == 0) total[c] = all;
  }
  __syncthreads();
  for (int g = warp(); g < groups; g += warps()) {
    float own = 0.0f;
    for (int k = lane(); k < group_channels; k += kWarp) {
      const int c = g * group_channels + k;
      const float shift = data.shift ? data.shift[image_channel + static_cast<size_t>(c)] : 0.0f;
      const float mean = total[c] / pixels + (kCached ? 0.0f : zero[c]) + shift;
      centre[c] = mean;
      own += mean;
    }
    const float mean = warp_sum(own) / static_cast<float>(group_channels);
    for (int k = lane(); k < group_channels; k += kWarp) {
      const int c = g * group_channels + k;
      const float shift = data.shift ? data.shift[image_channel + static_cast<size_t>(c)] : 0.0f;
      centre[c] -= mean;
      zero[c] = mean - shift;
    }
    if (lane() == 0) statistics[2 * g] = mean;
  }
  __syncthreads();

#pragma unroll
  for (int k = 0; k < kPack; ++k) sum[k] = 0.0f;
  for (int first = 0; first < place.mine; first += kCount) {
    P x[kCount];
    source.load(x, first);
#pragma unroll
    for (int k = 0; k < kPack; ++k) {
      const float origin = zero[place.channel + k];
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float d = x[i].value(k / kPer, k % kPer) - origin;
        if (first + i < place.mine) sum[k] += d * d;
      }
    }
  }
#pragma unroll
  for (int k = 0; k < kPack; ++k) sums.put(k, sum[k]);
  __syncthreads();
  for (int c = warp(); c < channels; c += warps()) {
    const float all = sums.of_channel(c);
    if (lane() == 0) total[c] = all;
  }
  __syncthreads();
  for (int g = warp(); g < groups; g += warps()) {
    float own = 0.0f;
    for (int k = lane(); k < group_channels; k += kWarp) own += total[g * group_channels + k];
    const float variance = warp_sum(own) / (pixels * static_cast<float>(group_channels));
    const float inverse = 1.0f / sqrtf(variance + rule.eps);
    if (lane() == 0) statistics[2 * g + 1] = inverse;
    for (int k = lane(); k < group_channels; k += kWarp) {
      const int c = g * group_channels + k;
      scale[c] = inverse * data.weight[place.first_channel + c];
      offset[c] = data.bias[place.first_channel + c];
      if (data.centres) data.centres[image_channel + static_cast<size_t>(c)] = centre[c] * inverse;
    }
  }
  __syncthreads();

  for (int first = 0; first < place.mine; first += kCount) {
    P x[kCount];
    source.load(x, first);
#pragma unroll
    for (int w = 0; w < P::kWords; ++w) {
      float zeros[kPer], scales[kPer], offsets[kPer];
#pragma unroll
      for (int j = 0; j < kPer; ++j) {
        const int c = place.channel + w * kPer + j;
        zeros[j] = zero[c], scales[j] = scale[c], offsets[j] = offset[c];
      }
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        float y[kPer];
#pragma unroll
        for (int j = 0; j < kPer; ++j) {
          y[j] = (x[i].value(w, j) - zeros[j]) * scales[j] + offsets[j];
          if (rule.silu) y[j] *= sigmoid(y[j]);
        }
        x[i].set(w, y);
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (first + i < place.mine) x[i].store(data.y, place.element(first + i));
    }
  }
}

// ---- Group norm, backward.

struct Inner {
  float x_hat, d_z;
};

struct Channel {
  float zero, inverse, weight, bias;

  __device__ Inner inner(float x, float d_y, bool silu) const {
    const float x_hat = (x - zero) * inverse;
    if (!silu) return {x_hat, d_y};
    const float z = x_hat * weight + bias;
    return {x_hat, d_y * silu_slope(z, sigmoid(z))};
  }
};

template <class E, int kPack, bool kCached>
__global__ void __launch_bounds__(kNormThreads, kNormBlocks)
    norm_backward(ImageShape shape, NormRule rule, Tile tile, NormBackward data) {
  using P = Pack<E, kPack>;
  constexpr int kPer = P::kPerWord, kCount = 2;
  const Place place(tile, shape, kPack);
  const int channels = tile.channels, group_channels = tile.group_channels;
  const Source<E, kPack, kCached> x_source(data.x, block_memory, place);
  uint4* const d_y_memory = block_memory + tile.per_thread * tile.threads;
  const Source<E, kPack, kCached> d_y_source(data.d_y, d_y_memory, place);
  RowSums sums(cache_end<kCached>(tile, 2), tile, kPack);
  RowSums products(sums.end(), tile, kPack);
  float* zero = products.end();
  float* inverse = zero + channels;
  float* weight = inverse + channels;
  float* bias = weight + channels;
  float* sum = bias + channels;
  float* product = sum + channels;
  float* constant = product + channels;
  float* slope = constant + channels;
  const size_t image_channel =
      static_cast<size_t>(place.image * shape.channels) + static_cast<size_t>(place.first_channel);

  const auto channel_at = [&](int c) { return Channel{zero[c], inverse[c], weight[c], bias[c]}; };

  if constexpr (kCached) {
    x_source.fetch();
    d_y_source.fetch();
    __pipeline_commit();
  }
  for (int c = static_cast<int>(threadIdx.x); c < channels; c += static_cast<int>(blockDim.x)) {
    const float* statistics = data.statistics + 2 * (place.image * rule.groups +
                                                     (place.first_channel + c) / group_channels);
    const float shift = data.shift ? data.shift[image_channel + static_cast<size_t>(c)] : 0.0f;
    zero[c] = statistics[0] - shift;
    inverse[c] = statistics[1];
    weight[c] = data.weight[place.first_channel + c];
    bias[c] = data.bias[place.first_channel + c];
  }
  if constexpr (kCached) __pipeline_wait_prior(0);
  __syncthreads();

  float thread_sum[kPack] = {}, thread_product[kPack] = {};
  for (int first = 0; first < place.mine; first += kCount) {
    P x[kCount], d_y[kCount];
    x_source.load(x, first);
    d_y_source.load(d_y, first);
#pragma unroll
    for (int k = 0; k < kPack; ++k) {
      const Channel channel = channel_at(place.channel + k);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (first + i >= place.mine) continue;
        const Inner e = channel.inner(x[i].value(k / kPer, k % kPer),
                                      d_y[i].value(k / kPer, k % kPer), rule.silu);
        thread_sum[k] += e.d_z;
        thread_product[k] += e.d_z * e.x_hat;
      }
    }
  }
#pragma unroll
  for (int k = 0; k < kPack; ++k) {
    sums.put(k, thread_sum[k]);
    products.put(k, thread_product[k]);
  }
  __syncthreads();
  float* table = data.channel_sums + 2 * place.image * shape.channels + place.first_channel;
  for (int c = warp(); c < channels; c += warps()) {
    const float all_products = products.of_channel(c), all = sums.of_channel(c);
    if (lane() == 0) {
      table[c] = product[c] = all_products;
      table[shape.channels + c] = sum[c] = all;
    }
  }
  __syncthreads();
  const float pixels = static_cast<float>(shape.pixels);
  const float count = pixels * static_cast<float>(group_channels);
  for (int g = warp(); g < channels / group_channels; g += warps()) {
    float own_1 = 0.0f, own_2 = 0.0f;
    for (int k = lane(); k < group_channels; k += kWarp) {
      const int c = g * group_channels + k;
      own_1 += weight[c] * sum[c];
      own_2 += weight[c] * product[c];
    }
    const float sum_1 = warp_sum(own_1), sum_2 = warp_sum(own_2);
    for (int k = lane(); k < group_channels; k += kWarp) {
      const int c = g * group_channels + k;
      const auto gradient = input_gradient(inverse[c], weight[c], sum_1, sum_2, count);
      constant[c] = gradient.constant;
      slope[c] = gradient.slope;
      if (data.d_shift) {
        const size_t at = image_channel + static_cast<size_t>(c);
        data.d_shift[at] = gradient.sum(sum[c], data.centres[at], pixels);
      }
    }
  }
  __syncthreads();

  for (int first = 0; first < place.mine; first += kCount) {
    P x[kCount], d_y[kCount];
    x_source.load(x, first);
    d_y_source.load(d_y, first);
#pragma unroll
    for (int w = 0; w < P::kWords; ++w) {
      Channel channel[kPer];
      InputGradient<float> gradient[kPer];
#pragma unroll
      for (int j = 0; j < kPer; ++j) {
        const int c = place.channel + w * kPer + j;
        channel[j] = channel_at(c);
        gradient[j] = {channel[j].inverse * channel[j].weight, constant[c], slope[c]};
      }
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        float d_x[kPer];
#pragma unroll
        for (int j = 0; j < kPer; ++j) {
          const Inner e = channel[j].inner(x[i].value(w, j), d_y[i].value(w, j), rule.silu);
          d_x[j] = gradient[j](e.d_z, e.x_hat);
        }
        d_y[i].set(w, d_x);
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (first + i >= place.mine) continue;
      if (data.d_beside) {  // rounded before it is added, as autograd would
        P beside;
        beside.load(data.d_beside, place.element(first + i));
        d_y[i].add(beside);
      }
      d_y[i].store(data.d_x, place.element(first + i));
    }
  }
}

// ---- Sums over images and pixels, and additions.

constexpr int kThreads = 256;

// A block has 32 columns and 32 rows at a time.
__global__ void __launch_bounds__(1024)
    column_sums(const float* table, int64_t rows, int64_t columns, float* out) {
  __shared__ float own[kWarp][kWarp + 1];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + lane();
  float sum = 0.0f;
  if (column < columns) {
    for (int64_t row = warp(); row < rows; row += kWarp) sum += table[row * columns + column];
  }
  own[warp()][lane()] = sum;
  __syncthreads();
  const float all = warp_sum(own[lane()][warp()]);
  const int64_t summed = static_cast<int64_t>(blockIdx.x) * kWarp + warp();
  if (lane() == 0 && summed < columns) out[summed] = all;
}

// How the pixels of a whole batch are shared out: a block has `columns` packs of channels, the
// blockIdx.y-th such part, and `rows` pixels at a time.
struct Spread {
  int columns, rows, parts;
  bool packed;
};

Spread make_spread(const ImageShape& shape, bool aligned) {
  const int whole = 16 / element_bytes(shape.element);
  const bool packed = aligned && shape.channels % whole == 0;
  const int packs = static_cast<int>(shape.channels) / (packed ? whole : 1);
  const int columns = std::min(packs, 64);
  return {columns, kThreads / columns, ceil_div(packs, columns), packed};
}

constexpr int kSumCount = 8;    // packs that a thread has under way
constexpr int kMostSums = 512;  // blocks of pixels: about four a multiprocessor

int64_t total_pixels(const ImageShape& shape) { return shape.batch * shape.pixels; }

template <class E, int kPack>
__global__ void __launch_bounds__(kThreads)
    channel_sums(ImageShape shape, Spread spread, const void* x, float* partial) {
  using P = Pack<E, kPack>;
  constexpr int kPer = P::kPerWord;
  __shared__ float own[kThreads * kPack];
  const int column = static_cast<int>(threadIdx.x) % spread.columns,
            row = static_cast<int>(threadIdx.x) / spread.columns;
  const int channel = (static_cast<int>(blockIdx.y) * spread.columns + column) * kPack;
  const int64_t pixels = shape.batch * shape.pixels;
  const bool works = row < spread.rows && channel < static_cast<int>(shape.channels);
  float sum[kPack] = {};
  if (works) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * spread.rows;
    for (int64_t first = static_cast<int64_t>(blockIdx.x) * spread.rows + row; first < pixels;
         first += step * kSumCount) {
      P values[kSumCount];
#pragma unroll
      for (int i = 0; i < kSumCount; ++i) {
        values[i].clear();
        const int64_t pixel = first + i * step;
        if (pixel < pixels) {
          values[i].load(x, static_cast<size_t>(pixel * shape.channels + channel));
        }
      }
#pragma unroll
      for (int i = 0; i < kSumCount; ++i) {
#pragma unroll
        for (int k = 0; k < kPack; ++k) sum[k] += values[i].value(k / kPer, k % kPer);
      }
    }
  }
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

constexpr int kAddCount = 4;

template <class E, int kPack>
__global__ void __launch_bounds__(kThreads) add(ImageShape shape, Spread spread, const void* h,
                                                const float* bias, const void* residual, void* y) {
  using P = Pack<E, kPack>;
  constexpr int kPer = P::kPerWord;
  const int column = static_cast<int>(threadIdx.x) % spread.columns,
            row = static_cast<int>(threadIdx.x) / spread.columns;
  const int channel = (static_cast<int>(blockIdx.y) * spread.columns + column) * kPack;
  if (row >= spread.rows || channel >= static_cast<int>(shape.channels)) return;
  const int64_t pixels = shape.batch * shape.pixels;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * spread.rows * kAddCount + row;
  P values[kAddCount], others[kAddCount];
#pragma unroll
  for (int i = 0; i < kAddCount; ++i) {
    values[i].clear();
    others[i].clear();
    const int64_t pixel = first + i * spread.rows;
    if (pixel >= pixels) continue;
    const size_t element = static_cast<size_t>(pixel * shape.channels + channel);
    values[i].load(h, element);
    if (residual) others[i].load(residual, element);
  }
  float added[kPack];
#pragma unroll
  for (int k = 0; k < kPack; ++k) added[k] = bias ? bias[channel + k] : 0.0f;
#pragma unroll
  for (int i = 0; i < kAddCount; ++i) {
    const int64_t pixel = first + i * spread.rows;
    if (pixel >= pixels) continue;
#pragma unroll
    for (int w = 0; w < P::kWords; ++w) {
      float sum[kPer];
#pragma unroll
      for (int j = 0; j < kPer; ++j) {
        sum[j] = values[i].value(w, j) + added[w * kPer + j] + others[i].value(w, j);
      }
      values[i].set(w, sum);
    }
    values[i].store(y, static_cast<size_t>(pixel * shape.channels + channel));
  }
}

// ---- Launches.

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

// ---- Dropout by slots.

// Block `block` of the generator for (key, slot): words 4 block .. 4 block + 3 of the slot.
__device__ uint4 philox(uint64_t key, uint64_t slot, uint64_t block) {
  uint4 c = make_uint4(static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                       static_cast<uint32_t>(slot), static_cast<uint32_t>(slot >> 32));
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
    c = make_uint4(high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// A thread: four neighbouring pixels of `kSize` channels. Where the pixels of an image are a
// multiple of four, the four share a block of words. Neighbouring threads have neighbouring
// channels.
template <class E, int kSize>
__global__ void drop(ImageShape shape, Dropout rule, const void* x, void* y) {
  using P = Pack<E, kSize>;
  // Of one image: 32 bits hold them, and divide faster.
  const auto columns = static_cast<uint32_t>(shape.channels / kSize);
  const auto quads = static_cast<uint32_t>((shape.pixels + 3) / 4);
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= quads * columns) return;
  const int64_t image = blockIdx.y, channel = int64_t{index % columns} * kSize;
  const int64_t first = int64_t{index / columns} * 4;
  const int64_t count = min(int64_t{4}, shape.pixels - first);
  const uint64_t key = static_cast<uint64_t>(*rule.key);
  const uint64_t slot = static_cast<uint64_t>(rule.slots[image]);

  uint32_t kept = 0;  // bit 4 j + i: channel j of pixel i
  for (int j = 0; j < kSize; ++j) {
    uint64_t block = ~uint64_t{0};
    uint4 words = make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto word = static_cast<uint64_t>((channel + j) * shape.pixels + first + i);
      if (word / 4 != block) {
        block = word / 4;
        words = philox(key, slot, block);
      }
      const uint32_t lane = word % 4;
      const uint32_t bits = lane == 0   ? words.x
                            : lane == 1 ? words.y
                            : lane == 2 ? words.z
                                        : words.w;
      const bool keep = static_cast<float>(bits >> 8) * 0x1.0p-24f >= rule.probability;
      kept |= static_cast<uint32_t>(keep) << (4 * j + i);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i >= count) return;
    const auto element =
        static_cast<size_t>((image * shape.pixels + first + i) * shape.channels + channel);
    P pack;
    pack.load(x, element);
#pragma unroll
    for (int w = 0; w < P::kWords; ++w) {
      float values[P::kPerWord];
#pragma unroll
      for (int j = 0; j < P::kPerWord; ++j) {
        const bool keep = kept >> (4 * (w * P::kPerWord + j) + i) & 1u;
        values[j] = keep ? pack.value(w, j) * rule.scale : 0.0f;
      }
      pack.set(w, values);
    }
    pack.store(y, element);
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

template <class E>
constexpr int kWholePack = 16 / E::kBytes;

// What a block of the current device may ask for.
size_t most_shared_bytes() {
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

bool device_runs_kernels(int device) {
  int major = 0;
  const cudaError_t error =
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  return error == cudaSuccess && major >= 8;
}

bool norm_fits(const ImageShape& shape, int64_t groups) {
  if (shape.pixels * shape.channels >= int64_t{1} << 31) return false;
  const auto fits = [&](bool aligned, const Limits& limits) {
    return make_tile(shape, groups, aligned, kUnaskedBytes, limits).valid;
  };
  return fits(true, kForward) && fits(true, kBackward) && fits(false, kForward) &&
         fits(false, kBackward);
}

LaunchError launch_norm_forward(const ImageShape& shape, const NormRule& rule,
                                const NormForward& data, Stream stream) {
  const bool aligned = is_aligned(data.x) && is_aligned(data.y);
  const Tile tile = make_tile(shape, rule.groups, aligned, most_shared_bytes(), kForward);
  return by_element(shape.element, [&](auto element) {
    using E = decltype(element);
    auto* kernel = !tile.packed  ? norm_forward<E, 1, false>
                   : tile.cached ? norm_forward<E, kWholePack<E>, true>
                                 : norm_forward<E, kWholePack<E>, false>;
    return launch_norm(kernel, shape, rule, tile, data, stream);
  });
}

LaunchError launch_norm_backward(const ImageShape& shape, const NormRule& rule,
                                 const NormBackward& data, Stream stream) {
  const bool aligned = is_aligned(data.x) && is_aligned(data.d_y) && is_aligned(data.d_x) &&
                       is_aligned(data.d_beside);
  const Tile tile = make_tile(shape, rule.groups, aligned, most_shared_bytes(), kBackward);
  return by_element(shape.element, [&](auto element) {
    using E = decltype(element);
    auto* kernel = !tile.packed  ? norm_backward<E, 1, false>
                   : tile.cached ? norm_backward<E, kWholePack<E>, true>
                                 : norm_backward<E, kWholePack<E>, false>;
    return launch_norm(kernel, shape, rule, tile, data, stream);
  });
}

LaunchError launch_column_sums(const float* table, int64_t rows, int64_t columns, float* out,
                               Stream stream) {
  const dim3 blocks(static_cast<unsigned>((columns + kWarp - 1) / kWarp));
  return launch(column_sums, blocks, kWarp * kWarp, 0, stream, table, rows, columns, out);
}

int64_t channel_sum_rows(const ImageShape& shape) {
  const int rows = make_spread(shape, true).rows;
  const int64_t pixels = total_pixels(shape), once = int64_t{rows} * kSumCount;
  return std::clamp<int64_t>((pixels + once - 1) / once, 1, kMostSums);
}

LaunchError launch_channel_sums(const ImageShape& shape, const void* x, float* partial,
                                Stream stream) {
  const Spread spread = make_spread(shape, is_aligned(x));
  const dim3 blocks(static_cast<unsigned>(channel_sum_rows(shape)),
                    static_cast<unsigned>(spread.parts));
  return by_element(shape.element, [&](auto element) {
    using E = decltype(element);
    auto* kernel = spread.packed ? channel_sums<E, kWholePack<E>> : channel_sums<E, 1>;
    return launch(kernel, blocks, kThreads, 0, stream, shape, spread, x, partial);
  });
}

LaunchError launch_add(const ImageShape& shape, const void* h, const float* bias,
                       const void* residual, void* y, Stream stream) {
  const Spread spread = make_spread(shape, is_aligned(h) && is_aligned(residual) && is_aligned(y));
  const int64_t once = int64_t{spread.rows} * kAddCount;
  const dim3 blocks(static_cast<unsigned>((total_pixels(shape) + once - 1) / once),
                    static_cast<unsigned>(spread.parts));
  return by_element(shape.element, [&](auto element) {
    using E = decltype(element);
    auto* kernel = spread.packed ? add<E, kWholePack<E>> : add<E, 1>;
    return launch(kernel, blocks, kThreads, 0, stream, shape, spread, h, bias, residual, y);
  });
}

LaunchError launch_dropout(const ImageShape& shape, const Dropout& rule, const void* x, void* y,
                           Stream stream) {
  return by_element(shape.element, [&](auto element) {
    using E = decltype(element);
    const bool packed = shape.channels % kWholePack<E> == 0 && is_aligned(x) && is_aligned(y);
    const int64_t columns = packed ? shape.channels / kWholePack<E> : shape.channels;
    const int64_t threads = (shape.pixels + 3) / 4 * columns;
    const dim3 blocks(static_cast<unsigned>((threads + kThreads - 1) / kThreads),
                      static_cast<unsigned>(shape.batch));
    auto* kernel = packed ? drop<E, kWholePack<E>> : drop<E, 1>;
    return launch(kernel, blocks, kThreads, 0, stream, shape, rule, x, y);
  });
}

}  // namespace scorenet::models::kernels
