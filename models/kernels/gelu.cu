// GELU with the bias in front of it, forward and backward.
#include "models/kernels/column_spread.cuh"
#include "models/kernels/gelu_formulas.hpp"
#include "models/kernels/token_kernels.hpp"

namespace scorenet::models::kernels {
namespace {

constexpr int kCount = 4;  // packs that a thread has under way

// One thread's pack of channels, of the pixels first, first + step, ...
template <int kPack>
struct Column {
  int channel;
  bool works;
  int64_t first, step;

  __device__ Column(const ImageShape& shape, const Spread& spread) {
    const int column = static_cast<int>(threadIdx.x) % spread.columns,
              row = static_cast<int>(threadIdx.x) / spread.columns;
    channel = (static_cast<int>(blockIdx.y) * spread.columns + column) * kPack;
    works = row < spread.rows && channel < static_cast<int>(shape.channels);
    first = static_cast<int64_t>(blockIdx.x) * spread.rows + row;
    step = static_cast<int64_t>(gridDim.x) * spread.rows;
  }
};

// Pixels first + i step that there are.
template <class P>
__device__ void load(P (&packs)[kCount], const void* data, const ImageShape& shape, int channel,
                     int64_t first, int64_t step, int64_t pixels) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    packs[i].clear();
    if (first + i * step < pixels)
      packs[i].load(data, static_cast<size_t>((first + i * step) * shape.channels + channel));
  }
}

template <class E, int kPack>
__global__ void __launch_bounds__(kThreads)
    gelu(ImageShape shape, Spread spread, const void* h, const float* bias, void* y) {
  using P = Pack<E, kPack>;
  constexpr int kPer = P::kPerWord;
  const Column<kPack> own(shape, spread);
  if (!own.works) return;
  float added[kPack];
#pragma unroll
  for (int k = 0; k < kPack; ++k) added[k] = bias[own.channel + k];
  const int64_t pixels = shape.batch * shape.pixels;
  for (int64_t first = own.first; first < pixels; first += own.step * kCount) {
    P values[kCount];
    load(values, h, shape, own.channel, first, own.step, pixels);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (first + i * own.step >= pixels) continue;
#pragma unroll
      for (int w = 0; w < P::kWords; ++w) {
        float out[kPer];
#pragma unroll
        for (int j = 0; j < kPer; ++j)
          out[j] = gelu_of(values[i].value(w, j) + added[w * kPer + j]).value;
        values[i].set(w, out);
      }
      values[i].store(y,
                      static_cast<size_t>((first + i * own.step) * shape.channels + own.channel));
    }
  }
}

template <class E, int kPack>
__global__ void __launch_bounds__(kThreads)
    gelu_backward(ImageShape shape, Spread spread, const void* h, const float* bias,
                  const void* d_y, void* d_h, float* partial) {
  using P = Pack<E, kPack>;
  constexpr int kPer = P::kPerWord;
  __shared__ float sums[kThreads * kPack];
  const Column<kPack> own(shape, spread);
  float sum[kPack] = {}, added[kPack] = {};
  const int64_t pixels = own.works ? shape.batch * shape.pixels : 0;
  if (own.works) {
#pragma unroll
    for (int k = 0; k < kPack; ++k) added[k] = bias[own.channel + k];
  }
  for (int64_t first = own.first; first < pixels; first += own.step * kCount) {
    P values[kCount], gradients[kCount];
    load(values, h, shape, own.channel, first, own.step, pixels);
    load(gradients, d_y, shape, own.channel, first, own.step, pixels);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (first + i * own.step >= pixels) continue;
#pragma unroll
      for (int w = 0; w < P::kWords; ++w) {
        float out[kPer];
#pragma unroll
        for (int j = 0; j < kPer; ++j) {
          const int k = w * kPer + j;
          out[j] = gradients[i].value(w, j) * gelu_of(values[i].value(w, j) + added[k]).slope;
          sum[k] += out[j];
        }
        gradients[i].set(w, out);
      }
      gradients[i].store(
          d_h, static_cast<size_t>((first + i * own.step) * shape.channels + own.channel));
    }
  }
  spread_sums<kPack>(sum, shape, spread, sums, partial);
}

// As many blocks as channel_sum_rows says: those that have a row of partial sums.
dim3 blocks_of(const ImageShape& shape, const Spread& spread) {
  return {static_cast<unsigned>(channel_sum_rows(shape)), static_cast<unsigned>(spread.parts), 1};
}

}  // namespace

LaunchError launch_gelu(const ImageShape& shape, const void* h, const float* bias, void* y,
                        Stream stream) {
  const Spread spread = make_spread(shape, is_aligned(h) && is_aligned(y));
  return by_element(shape.element, [&](auto element) {
    using E = decltype(element);
    auto* kernel = spread.packed ? gelu<E, kWholePack<E>> : gelu<E, 1>;
    return launch(kernel, blocks_of(shape, spread), kThreads, 0, stream, shape, spread, h, bias, y);
  });
}

LaunchError launch_gelu_backward(const ImageShape& shape, const void* h, const float* bias,
                                 const void* d_y, void* d_h, float* partial, Stream stream) {
  const Spread spread = make_spread(shape, is_aligned(h) && is_aligned(d_y) && is_aligned(d_h));
  return by_element(shape.element, [&](auto element) {
    using E = decltype(element);
    auto* kernel = spread.packed ? gelu_backward<E, kWholePack<E>> : gelu_backward<E, 1>;
    return launch(kernel, blocks_of(shape, spread), kThreads, 0, stream, shape, spread, h, bias,
                  d_y, d_h, partial);
  });
}

}  // namespace scorenet::models::kernels
