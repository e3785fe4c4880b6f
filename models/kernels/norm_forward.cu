// Group norm, forward.
#include "models/kernels/channels_last_tile.cuh"

namespace scorenet::models::kernels {
namespace {

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

}  // namespace scorenet::models::kernels
