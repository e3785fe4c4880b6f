// Self-attention of bfloat16 tokens whose queries, keys and values lie side by side, as one product
// makes them: the bias is added, and heads are read and written, where they lie.
#pragma once

#include <torch/types.h>

#include "models/kernels/token_device.hpp"

namespace scorenet::models::cpu {

/// Whether this CPU multiplies bfloat16, qkv (B, T, 3 C) is of that type, and its tokens are few
/// enough for a head's weights to be kept at once: then this is faster than LibTorch's ways. Its
/// fused kernel is as fast in float32.
bool mixes_heads(const torch::Tensor& qkv);

/// softmax(q k^T / sqrt(d)) v of each head, (B, T, C), of q, k, v = qkv + bias. bias: (3 C),
/// float32.
torch::Tensor mix_heads(const torch::Tensor& qkv, const torch::Tensor& bias, int64_t heads);

/// The gradient of qkv, and that of the bias. d_mixed: dense.
kernels::TokenDevice::BiasGradient mix_heads_gradient(const torch::Tensor& qkv,
                                                      const torch::Tensor& bias,
                                                      const torch::Tensor& d_mixed, int64_t heads);

}  // namespace scorenet::models::cpu
