// Biases with residuals, and the sums over images and pixels that are their gradients.
#include <algorithm>

#include "models/kernels/column_spread.cuh"

namespace scorenet::models::kernels {
namespace {

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
  spread_sums<kPack>(sum, shape, spread, own, partial);
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

}  // namespace

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

}  // namespace scorenet::models::kernels
