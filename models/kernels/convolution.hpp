// Convolutions of padded NHWC tensors as sums of matrix products, one a tap, on
// LibTorch's batch-reduce GEMM.
//
// A padded tensor is (B, H + 2, W + 2, C), contiguous, float32 or bfloat16, with a border of
// zeros: every tap of a 3x3 kernel is the same product on a shifted pointer, with no copy and
// no edge cases. Sums are float32; bfloat16 is rounded once, when a pixel is stored. Results
// depend on the shapes alone, not on the number of threads. All channel counts are multiples of
// 16. REQUIRES fast_path_available().
#pragma once

#include <torch/types.h>

#include "models/kernels/vector_kernels.hpp"

namespace scorenet::models::kernels {

/// A new padded tensor whose border is zero and whose inside is uninitialised.
torch::Tensor empty_padded(int64_t batch, Area area, int64_t channels, torch::Dtype dtype);
void zero_border(const torch::Tensor& padded);
/// H and W of the inside.
Area area_of(const torch::Tensor& padded);

/// A kernel (O, I, h, w), float32, as products want it: taps (h w), I, O; channel pairs
/// interleaved for bfloat16.
torch::Tensor pack_kernel(const torch::Tensor& weight, torch::Dtype dtype);
/// The kernel that maps output gradients to input gradients: flipped, with I and O
/// exchanged; packed likewise.
torch::Tensor pack_transposed_kernel(const torch::Tensor& weight, torch::Dtype dtype);

/// What is added to a convolution's result when it is stored. Undefined tensors add nothing.
struct Epilogue {
  torch::Tensor bias;       // (O), float32
  torch::Tensor per_image;  // (B, O), float32
  torch::Tensor residual;   // padded, as the result
};

/// 3x3, padding 1, of x (B, H + 2, W + 2, I) with a packed kernel of `out_channels`; plus a 1x1
/// kernel (packed) of each padded tensor in `shortcuts`, summed into the same result.
struct Shortcut {
  torch::Tensor x;
  torch::Tensor packed;
};
torch::Tensor convolve(const torch::Tensor& x, const torch::Tensor& packed, int64_t out_channels,
                       const std::vector<Shortcut>& shortcuts, const Epilogue& epilogue);
/// The 1x1 product alone.
torch::Tensor convolve_1x1(const torch::Tensor& x, const torch::Tensor& packed,
                           int64_t out_channels);

/// Gradient of a 3x3 (size = 3) or 1x1 (size = 1) kernel: (O, I, size, size), float32, for
/// input x and output gradient dy.
torch::Tensor kernel_gradient(const torch::Tensor& x, const torch::Tensor& dy, int64_t size);

/// Sum over images and pixels of dy: (C), float32.
torch::Tensor bias_gradient(const torch::Tensor& dy);

/// conv3x3(nearest-upsample(x)) as four 2x2 convolutions of x with summed kernels, one for each
/// parity of the output's row and column: the same sums with 4/9 of the products, and the large
/// intermediate never exists. x: (B, H + 2, W + 2, C), weight: (O, C, 3, 3). Returns
/// (B, 2 H + 2, 2 W + 2, O).
torch::Tensor upsample_convolve(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias);
torch::Tensor upsample_convolve_input_gradient(const torch::Tensor& dy,
                                               const torch::Tensor& weight);
torch::Tensor upsample_convolve_kernel_gradient(const torch::Tensor& x, const torch::Tensor& dy);

}  // namespace scorenet::models::kernels
