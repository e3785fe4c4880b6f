// Derivatives of eps_hat in x up to the third order by automatic differentiation, for examples of
// few dimensions.
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/diffusion/denoiser.hpp"

namespace scorenet::diffusion {

/// While such an object exists, attention is computed from products and a softmax: LibTorch's fused
/// kernels have no second derivative. LibTorch's switches belong to the process: the first object
/// changes them, the last one restores them. Thread-safe.
class PlainAttention {
 public:
  PlainAttention();
  ~PlainAttention();
  PlainAttention(const PlainAttention&) = delete;
  PlainAttention& operator=(const PlainAttention&) = delete;
  /// Whether such an object exists.
  static bool is_asked_for();
};

/// float64, detached; D numbers an example.
struct EpsJet {
  torch::Tensor eps;              // (b, D)
  torch::Tensor jacobian;         // (b, D, D): row i is grad eps_i
  torch::Tensor divergence;       // (b)
  torch::Tensor grad_divergence;  // (b, D)
  torch::Tensor curvature;        // (b, D, D): Hess(p.eps + div eps); undefined without p
};

/// x (b, D), given to the denoiser in example_shape (-1, ...). p (b, D) is held fixed;
/// undefined: no curvature.
EpsJet eps_jet(const Denoiser& denoiser, const torch::Tensor& x,
               const std::vector<int64_t>& example_shape, const NoiseLevel& level,
               const torch::Tensor& p);

/// grad of sum(y) in x, zero where y does not depend on x (an affine denoiser's divergence).
torch::Tensor gradient_or_zero(const torch::Tensor& y, const torch::Tensor& x, bool create_graph);

}  // namespace scorenet::diffusion
