// The probability-flow ODE in log-SNR, and the derivatives that likelihoods along it need.
//
// With L = log_snr as the time, dx/dt = f x - g^2 / 2 score (Song et al. 2021, 2011.13456,
// eq. 13) becomes
//     dx/dL = F(x, L) = a x - (sigma / 2) eps_hat(x, L),   a = f / (dL/dt),
// since g^2 dt = -sigma^2 dL. L falls from data to noise. F stays bounded where score and g^2
// do not, and
//     div F = D a - (sigma / 2) div eps_hat.
// All in float64 but for what the network computes inside the denoiser.
#pragma once

#include <torch/types.h>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {

/// Everything about the flow at given log-SNRs that does not depend on x. All (b)
/// float64, without gradient.
struct FlowLevel {
  NoiseLevel level;
  torch::Tensor linear;      // a
  torch::Tensor half_sigma;  // sigma / 2
  torch::Tensor t;           // the schedule's time, clamped to its range
};

/// log_snr (b), within the schedule's range up to rounding.
FlowLevel flow_level(const Schedule& schedule, const torch::Tensor& log_snr);

/// log N(x; 0, P I) of each example with the schedule's prior variance P: (B) float64.
torch::Tensor log_prior(const Schedule& schedule, const torch::Tensor& x);

/// a x - (sigma / 2) eps.
torch::Tensor flow_velocity(const FlowLevel& at, const torch::Tensor& x, const torch::Tensor& eps);

/// eps_hat (b, ...) and its divergence (b), float64, detached.
struct EpsDivergence {
  torch::Tensor eps;
  torch::Tensor divergence;
};

/// The exact divergence: one backward pass over D copies of the batch.
EpsDivergence eps_divergence_exact(const Denoiser& denoiser, const torch::Tensor& x,
                                   const NoiseLevel& level);

/// The same by D backward passes over the batch itself, for a denoiser that knows each example by
/// its place in it.
EpsDivergence eps_divergence_by_dimension(const Denoiser& denoiser, const torch::Tensor& x,
                                          const NoiseLevel& level);

/// eps_hat (b, ...) and its Jacobian (b, D, D), row i the gradient of eps_hat_i; float64, detached.
struct EpsJacobian {
  torch::Tensor eps;
  torch::Tensor jacobian;
};
/// At the same price as the exact divergence.
EpsJacobian eps_jacobian_exact(const Denoiser& denoiser, const torch::Tensor& x,
                               const NoiseLevel& level);
/// As eps_divergence_by_dimension.
EpsJacobian eps_jacobian_by_dimension(const Denoiser& denoiser, const torch::Tensor& x,
                                      const NoiseLevel& level);

/// Hutchinson's estimate z^T (d eps / dx) z for one probe an example, z of x's shape.
EpsDivergence eps_divergence_probed(const Denoiser& denoiser, const torch::Tensor& x,
                                    const NoiseLevel& level, const torch::Tensor& probe);

/// The level repeated `times` times for each example: (b) -> (b times).
NoiseLevel repeat_level(const NoiseLevel& level, int64_t times);

}  // namespace scorenet::diffusion
