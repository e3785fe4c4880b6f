// Scaled dot-product attention, softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017, 1706.03762, eq.
// 1), by the faster of LibTorch's two routes.
#pragma once

#include <torch/types.h>

namespace scorenet::models {

/// q, k, v: (B, heads, tokens, head_dim), same shape and dtype. Returns the same shape.
///
/// LibTorch's fused CPU kernel has a slow backward pass in bfloat16 when sequences are short (27 %
/// of a U-Net's step for four 49-token layers), so bfloat16 with at most 256 tokens or heads
/// narrower than 32 takes two batched products and a softmax. In float32 the fused kernel is as
/// fast or faster.
torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v);

}  // namespace scorenet::models
