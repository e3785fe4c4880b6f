// Layer norm of tokens with an image's shift and scale, forward and backward.
#include "models/kernels/token_rows.cuh"

namespace scorenet::models::kernels {
namespace {

template <class E, int kRounds>
__global__ void __launch_bounds__(kTokenThreads) norm(TokenShape shape, TokenNorm data) {
  using Row = TokenRow<E, kRounds>;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * warps() + warp();
  if (token >= shape.batch * shape.tokens) return;
  const int64_t image = token / shape.tokens, channels = shape.channels;
  Row x, scale, shift;
  x.load(data.x, token * channels, channels);
  scale.load(data.scale.data, image * data.scale.stride, channels);
  shift.load(data.shift.data, image * data.shift.stride, channels);
  const float count = static_cast<float>(channels);
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < Row::kValues; ++k) sum += x[k];  // zeros behind the row
  const float mean = warp_sum(sum) / count;
  float square = 0.0f;
#pragma unroll
  for (int k = 0; k < Row::kValues; ++k) {
    const float centred = Row::is_there(k, channels) ? x[k] - mean : 0.0f;
    square += centred * centred;
  }
  const float inverse = rsqrtf(warp_sum(square) / count + data.eps);
  x.fill([&](int k) { return (x[k] - mean) * inverse * (1.0f + scale[k]) + shift[k]; });
  x.store(data.y, token * channels, channels);
  if (lane() == 0) {
    data.statistics[2 * token] = mean;
    data.statistics[2 * token + 1] = inverse;
  }
}

template <class E, int kRounds>
__global__ void __launch_bounds__(kTokenThreads)
    norm_backward(TokenShape shape, TokenNormBackward data) {
  using Row = TokenRow<E, kRounds>;
  extern __shared__ float block_memory[];
  const TokenShare share(shape);
  const int64_t channels = shape.channels;
  const float count = static_cast<float>(channels);
  Row scale;
  scale.load(data.scale.data, share.image * data.scale.stride, channels);
  float shift_sum[Row::kValues] = {}, scale_sum[Row::kValues] = {};
  for (int64_t t = share.first; t < share.end; t += share.step) {
    const int64_t token = share.image * shape.tokens + t, at = token * channels;
    Row x, d_y;
    x.load(data.x, at, channels);
    d_y.load(data.d_y, at, channels);
    const float mean = data.statistics[2 * token], inverse = data.statistics[2 * token + 1];
    float sum = 0.0f, product = 0.0f;
#pragma unroll
    for (int k = 0; k < Row::kValues; ++k) {  // d_y is zero behind the row
      const float x_hat = (x[k] - mean) * inverse, d_z = d_y[k] * (1.0f + scale[k]);
      sum += d_z;
      product += d_z * x_hat;
      shift_sum[k] += d_y[k];
      scale_sum[k] += d_y[k] * x_hat;
    }
    const float sum_1 = warp_sum(sum), sum_2 = warp_sum(product);
    x.fill([&](int k) {
      const auto gradient = input_gradient(inverse, 1.0f + scale[k], sum_1, sum_2, count);
      return gradient(d_y[k], (x[k] - mean) * inverse);
    });
    if (data.d_beside) {  // rounded before it is added, as autograd would
      Row beside;
      beside.load(data.d_beside, at, channels);
#pragma unroll
      for (int i = 0; i < kRounds; ++i) x.packs[i].add(beside.packs[i]);
    }
    x.store(data.d_x, at, channels);
  }
  const int64_t part = share.image * gridDim.x + blockIdx.x;
  float* const out = data.sums + 2 * part * channels;
  write_block_sums<E, kRounds>(shift_sum, channels, block_memory, out);
  write_block_sums<E, kRounds>(scale_sum, channels, block_memory, out + channels);
}

}  // namespace

bool tokens_fit(const TokenShape& shape) {
  return shape.channels * element_bytes(shape.element) % 16 == 0 &&
         rounds_of(shape) <= kMostRounds && sum_memory(shape) <= 48 * 1024 && shape.batch <= 65535;
}

int64_t token_parts(const TokenShape& shape) {
  return std::clamp<int64_t>(shape.tokens / (8 * kTokenWarps), 1, 16);
}

LaunchError launch_token_norm(const TokenShape& shape, const TokenNorm& data, Stream stream) {
  const int64_t all = shape.batch * shape.tokens;
  const dim3 blocks(static_cast<unsigned>((all + kTokenWarps - 1) / kTokenWarps));
  return by_rows(shape, [&](auto element, auto rounds) {
    return launch(norm<decltype(element), decltype(rounds)::value>, blocks, kTokenThreads, 0,
                  stream, shape, data);
  });
}

LaunchError launch_token_norm_backward(const TokenShape& shape, const TokenNormBackward& data,
                                       Stream stream) {
  return by_rows(shape, [&](auto element, auto rounds) {
    return launch(norm_backward<decltype(element), decltype(rounds)::value>,
                  parts_and_images(shape), kTokenThreads, sum_memory(shape), stream, shape, data);
  });
}

}  // namespace scorenet::models::kernels
