// Group norm with SiLU, forward and backward, on padded NHWC tensors; several tensors are read
// as their concatenation.
#pragma once

#include <torch/types.h>

#include <vector>

namespace scorenet::models::kernels {

struct NormParameters {
  torch::Tensor weight;  // (C), float32
  torch::Tensor bias;    // (C), float32
  int64_t groups = 1;
  double eps = 1e-5;
  bool silu = true;
};

struct NormResult {
  torch::Tensor out;         // padded, all channels
  torch::Tensor statistics;  // (B, groups, 2), float64: mean and 1 / standard deviation
};

/// sources: padded tensors of one size; their channels add up to C, each a multiple of 16.
NormResult norm_forward(const std::vector<torch::Tensor>& sources, const NormParameters& norm);

struct NormGradient {
  std::vector<torch::Tensor> sources;  // padded, as the sources, with the residuals added
  torch::Tensor weight;                // (C), float32
  torch::Tensor bias;                  // (C), float32
  // (B, C), float32: sums over pixels of the sources' gradients without the residuals
  torch::Tensor channel_sums;
};

/// residuals: empty, or for every source a padded tensor that is added to its gradient.
NormGradient norm_backward(const std::vector<torch::Tensor>& sources, const NormParameters& norm,
                           const torch::Tensor& statistics, const torch::Tensor& d_out,
                           const std::vector<torch::Tensor>& residuals);

}  // namespace scorenet::models::kernels
