// Losses that learn more than a mean: an uncertainty for every noise level, and the variance of the
// reverse step.
//
// Uncertainty (Karras et al. 2024, 2312.02696, eq. 14 and 15), with u(log_snr) a tiny network:
//
//     L / e^u + u
//
// At the optimum u = log E[L given log_snr], so every noise level contributes equally to the
// network's gradient.
//
// Learned variance (Nichol & Dhariwal 2021, 2102.09672, eq. 15 and 16): the network's second tensor
// is `raw`. With beta = sigma_{t|s}^2 the forward step's variance and beta_tilde the posterior's:
//
//     log v  = u log beta + (1 - u) log beta_tilde,   u = (raw + 1) / 2
//     KL     = 1/2 [log(v / beta_tilde) + beta_tilde / v - 1] + |mean gap|^2 / (2 v)   a dimension
//     hybrid = simple + weight T KL,   the mean detached in the KL
//
// Here t_min > 0 or gamma(0) is finite. So beta_tilde > 0 at the first step too, and its logarithm
// needs no clipping.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/parametrisation.hpp"
#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {

/// u(log_snr): fixed random Fourier features and one linear layer without bias that starts at zero.
class UncertaintyWeight : public torch::nn::Module {
 public:
  /// features: even or odd, >= 1 (ConfigError otherwise). Frequencies are fixed: equal in every run
  /// and on every rank.
  explicit UncertaintyWeight(int64_t features = 128);

  /// log_snr (B) float64 -> u (B) float64.
  torch::Tensor forward(const torch::Tensor& log_snr);
  /// loss (B) -> loss / e^u + u. `loss` is per dimension (a mean, not a sum), so that u stays
  /// of order one.
  torch::Tensor weigh(const torch::Tensor& loss, const torch::Tensor& log_snr);

 private:
  torch::Tensor frequencies_;  // (F), buffer
  torch::Tensor phases_;       // (F), buffer
  torch::Tensor weights_;      // (F)
};

/// log(v / beta_tilde) for the reverse variance v that `raw` (B, ...) stands for: raw's shape,
/// float64.
/// log_beta_ratio = log(beta / beta_tilde) = 2 log(sigma_t / sigma_s), broadcastable to raw.
torch::Tensor learned_log_variance_ratio(const torch::Tensor& raw,
                                         const torch::Tensor& log_beta_ratio);

/// KL(q(x_s given x_t, x0) || N(mean from eps_hat, v)) of each example in nats, (B) float64, summed
/// over dimensions. eps, eps_hat, raw: (B, ...). Gradients reach raw and eps_hat alike: detach
/// eps_hat for the hybrid loss. Throws ShapeError.
torch::Tensor learned_variance_step_nats(const Schedule& schedule, const ReverseStep& step,
                                         const torch::Tensor& eps, const torch::Tensor& eps_hat,
                                         const torch::Tensor& raw);

/// simple + vlb_weight T KL, with the mean detached in the KL: (B) float64. The KL is that of
/// `step`, one of T (loss.hpp); simple is the squared error of the prediction itself (loss.hpp).
/// network returns two tensors (Parametrisation::learned_variance).
torch::Tensor hybrid_loss_per_example(const Network& network,
                                      const Parametrisation& parametrisation,
                                      const Schedule& schedule, int64_t steps,
                                      const torch::Tensor& x0, const ReverseStep& step,
                                      const torch::Tensor& eps, double vlb_weight = kHybridWeight);

}  // namespace scorenet::diffusion
