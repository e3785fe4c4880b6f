// Queries', keys' and values' gradients side by side, and their sums over tokens.
#include "models/kernels/column_spread.cuh"
#include "models/kernels/token_kernels.hpp"

namespace scorenet::models::kernels {
namespace {

constexpr int kParts = 3;  // blockIdx.z: which

template <class E, int kPack>
__global__ void __launch_bounds__(kThreads)
    join(ImageShape shape, Spread spread, Triple triple, void* out, float* partial) {
  using P = Pack<E, kPack>;
  constexpr int kPer = P::kPerWord;
  __shared__ float sums[kThreads * kPack];
  const int column = static_cast<int>(threadIdx.x) % spread.columns,
            row = static_cast<int>(threadIdx.x) / spread.columns;
  const int channel = (static_cast<int>(blockIdx.y) * spread.columns + column) * kPack;
  const bool works = row < spread.rows && channel < static_cast<int>(shape.channels);
  const int64_t pixels = works ? shape.batch * shape.pixels : 0;
  const int64_t before = static_cast<int64_t>(blockIdx.z) * shape.channels;
  const int64_t step = static_cast<int64_t>(gridDim.x) * spread.rows;
  float sum[kPack] = {};
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * spread.rows + row; first < pixels;
       first += step * kSumCount) {
    P values[kSumCount];
#pragma unroll
    for (int i = 0; i < kSumCount; ++i) {
      values[i].clear();
      const int64_t pixel = first + i * step;
      if (pixel < pixels)
        values[i].load(triple.parts[blockIdx.z],
                       static_cast<size_t>(pixel * shape.channels + channel));
    }
#pragma unroll
    for (int i = 0; i < kSumCount; ++i) {
      const int64_t pixel = first + i * step;
#pragma unroll
      for (int k = 0; k < kPack; ++k) sum[k] += values[i].value(k / kPer, k % kPer);
      if (pixel < pixels)
        values[i].store(out,
                        static_cast<size_t>(kParts * pixel * shape.channels + before + channel));
    }
  }
  // Row blockIdx.x of partial is kParts times as long as spread_sums takes it to be.
  const int64_t rows_before = 2 * static_cast<int64_t>(blockIdx.x) * shape.channels;
  spread_sums<kPack>(sum, shape, spread, sums, partial + rows_before + before);
}

}  // namespace

LaunchError launch_join(const ImageShape& shape, const Triple& triple, void* out, float* partial,
                        Stream stream) {
  bool aligned = is_aligned(out);
  for (const void* part : triple.parts) aligned = aligned && is_aligned(part);
  const Spread spread = make_spread(shape, aligned);
  const dim3 blocks(static_cast<unsigned>(channel_sum_rows(shape)),
                    static_cast<unsigned>(spread.parts), kParts);
  return by_element(shape.element, [&](auto element) {
    using E = decltype(element);
    auto* kernel = spread.packed ? join<E, kWholePack<E>> : join<E, 1>;
    return launch(kernel, blocks, kThreads, 0, stream, shape, spread, triple, out, partial);
  });
}

}  // namespace scorenet::models::kernels
