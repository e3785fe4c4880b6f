// Self-attention of bfloat16 tokens whose queries, keys and values lie side by side, as the product
// of one linear layer leaves them. Heads are read and written in place, and the bias is added on
// the way, so nothing is copied.
#pragma once

#include <torch/types.h>

#include "models/kernels/token_device.hpp"

namespace scorenet::models::cpu {

/// Whether mix_heads() is faster than LibTorch's attention for qkv (B, T, 3 C): this CPU multiplies
/// bfloat16, qkv is of that type, and a head's weights (T, T) fit into memory at once. In float32
/// LibTorch's fused kernel is as fast.
bool mixes_heads(const torch::Tensor& qkv);

/// softmax(q k^T / sqrt(d)) v of each head: (B, T, C), where (q, k, v) = qkv + bias. bias: (3 C),
/// float32. REQUIRES mixes_heads(qkv).
torch::Tensor mix_heads(const torch::Tensor& qkv, const torch::Tensor& bias, int64_t heads);

/// The gradients of qkv and of the bias. d_mixed must be dense.
kernels::TokenDevice::BiasGradient mix_heads_gradient(const torch::Tensor& qkv,
                                                      const torch::Tensor& bias,
                                                      const torch::Tensor& d_mixed, int64_t heads);

}  // namespace scorenet::models::cpu
