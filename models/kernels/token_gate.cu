// A residual plus an image's gate times a block's result with its bias, forward and backward.
#include "models/kernels/token_rows.cuh"

namespace scorenet::models::kernels {
namespace {

template <class E, int kRounds>
__global__ void __launch_bounds__(kTokenThreads) gate(TokenShape shape, TokenGate data) {
  using Row = TokenRow<E, kRounds>;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * warps() + warp();
  if (token >= shape.batch * shape.tokens) return;
  const int64_t channels = shape.channels, at = token * channels;
  Row residual, gate, h;
  residual.load(data.residual, at, channels);
  gate.load(data.gate.data, token / shape.tokens * data.gate.stride, channels);
  h.load(data.h, at, channels);
  float bias[Row::kValues];
  load_numbers<E, kRounds>(bias, data.bias, channels);
  h.fill([&](int k) { return residual[k] + gate[k] * (h[k] + bias[k]); });
  h.store(data.y, at, channels);
}

template <class E, int kRounds>
__global__ void __launch_bounds__(kTokenThreads)
    gate_backward(TokenShape shape, TokenGateBackward data) {
  using Row = TokenRow<E, kRounds>;
  extern __shared__ float block_memory[];
  const TokenShare share(shape);
  const int64_t channels = shape.channels;
  Row gate;
  gate.load(data.gate.data, share.image * data.gate.stride, channels);
  float bias[Row::kValues], product_sum[Row::kValues] = {}, plain_sum[Row::kValues] = {};
  load_numbers<E, kRounds>(bias, data.bias, channels);
  for (int64_t t = share.first; t < share.end; t += share.step) {
    const int64_t at = (share.image * shape.tokens + t) * channels;
    Row h, d_y;
    h.load(data.h, at, channels);
    d_y.load(data.d_y, at, channels);
#pragma unroll
    for (int k = 0; k < Row::kValues; ++k) {
      product_sum[k] += d_y[k] * (h[k] + bias[k]);
      plain_sum[k] += d_y[k];
    }
    d_y.fill([&](int k) { return gate[k] * d_y[k]; });
    d_y.store(data.d_h, at, channels);
  }
  const int64_t part = share.image * gridDim.x + blockIdx.x;
  float* const out = data.sums + 2 * part * channels;
  write_block_sums<E, kRounds>(product_sum, channels, block_memory, out);
  write_block_sums<E, kRounds>(plain_sum, channels, block_memory, out + channels);
}

}  // namespace

LaunchError launch_token_gate(const TokenShape& shape, const TokenGate& data, Stream stream) {
  const int64_t all = shape.batch * shape.tokens;
  const dim3 blocks(static_cast<unsigned>((all + kTokenWarps - 1) / kTokenWarps));
  return by_rows(shape, [&](auto element, auto rounds) {
    return launch(gate<decltype(element), decltype(rounds)::value>, blocks, kTokenThreads, 0,
                  stream, shape, data);
  });
}

LaunchError launch_token_gate_backward(const TokenShape& shape, const TokenGateBackward& data,
                                       Stream stream) {
  return by_rows(shape, [&](auto element, auto rounds) {
    return launch(gate_backward<decltype(element), decltype(rounds)::value>,
                  parts_and_images(shape), kTokenThreads, sum_memory(shape), stream, shape, data);
  });
}

}  // namespace scorenet::models::kernels
