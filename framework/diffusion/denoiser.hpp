// What samplers, losses and likelihood evaluators know of a model: given x_t and its noise level,
// an estimate of both the clean data and the noise.
//
// Both are carried because each is exact where the other cancels: x0 = (x_t - sigma eps) / alpha
// loses digits as alpha -> 0, eps = (x_t - alpha x0) / sigma as sigma -> 0. score = -eps / sigma.
#pragma once

#include <torch/types.h>

#include <functional>

#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {

/// Estimates with x_t = alpha x0 + sigma eps, both of x_t's shape.
struct Denoised {
  torch::Tensor x0;
  torch::Tensor eps;
  /// Of a network that learned the reverse variance: what it says of it, x_t's shape
  /// (learned_weights.hpp). Else undefined.
  torch::Tensor raw_variance = {};
};

/// A raw network: (x_t (B, ...), log_snr (B)) -> one tensor of x_t's shape, in the meaning that
/// `Prediction` names. With a learned variance (Parametrisation) two such tensors, one behind the
/// other along dimension 1.
using Network =
    std::function<torch::Tensor(const torch::Tensor& x_t, const torch::Tensor& log_snr)>;

/// A network seen through its parametrisation; also guided, analytic or ensembled models.
using Denoiser = std::function<Denoised(const torch::Tensor& x_t, const NoiseLevel& level)>;

}  // namespace scorenet::diffusion
