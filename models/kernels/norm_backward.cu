// Group norm, backward.
#include "models/kernels/channels_last_tile.cuh"

namespace scorenet::models::kernels {
namespace {

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

}  // namespace

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

}  // namespace scorenet::models::kernels
