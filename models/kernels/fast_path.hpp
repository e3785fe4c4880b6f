// The CPU fast path of the U-Net: when it may be taken, and its blocks as autograd nodes.
//
// One node a block, on padded NHWC tensors (convolution.hpp): no layout changes around
// convolutions, normalisation and SiLU in one pass, concatenation, bias, time embedding and
// shortcut inside the products. The same mathematics as the ATen blocks in blocks.cpp, which remain
// the reference, the fallback, and the only path with second derivatives. A node's incoming
// gradient may have any layout but must be zero on the border; what it returns is.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

namespace scorenet::models::kernels {

/// Whether this build and this CPU can run the fast path in `dtype`: AVX-512 (F, BW, DQ, VL), for
/// bfloat16 also avx512_bf16.
bool fast_path_available(torch::Dtype dtype);

/// The weights of a residual block as blocks.hpp names them; shortcut undefined where
/// the channels stay.
struct ResidualWeights {
  torch::Tensor norm1_weight, norm1_bias, conv1_weight, conv1_bias;
  torch::Tensor norm2_weight, norm2_bias, conv2_weight, conv2_bias;
  torch::Tensor shortcut_weight, shortcut_bias;
};

/// The residual block of x and, if defined, skip, read as their concatenation by channels. x, skip:
/// padded; time: (B, out channels), float32, added behind the first convolution. Returns padded (B,
/// H + 2, W + 2, out channels).
torch::Tensor residual_block(const torch::Tensor& x, const torch::Tensor& skip,
                             const torch::Tensor& time, const ResidualWeights& weights,
                             int64_t groups, double eps);

/// Group norm, and SiLU if wanted, of a padded tensor.
torch::Tensor group_norm(const torch::Tensor& x, const torch::Tensor& weight,
                         const torch::Tensor& bias, int64_t groups, double eps, bool silu);

/// Nearest upsampling by two and a 3x3 convolution of a padded tensor.
torch::Tensor upsample_block(const torch::Tensor& x, const torch::Tensor& weight,
                             const torch::Tensor& bias);

/// (B, C, H, W) of float32 or bfloat16 -> padded, and the inside of a padded tensor as
/// (B, C, H, W), a view.
torch::Tensor to_padded(const torch::Tensor& x);
torch::Tensor inside(const torch::Tensor& padded);

/// The padded tensor itself, border included, as (B, C, H + 2, W + 2): a view for an ATen
/// convolution with padding 0. The backward pass clears the border of its gradient.
torch::Tensor with_border(const torch::Tensor& padded);

}  // namespace scorenet::models::kernels
