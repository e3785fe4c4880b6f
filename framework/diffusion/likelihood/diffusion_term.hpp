// The diffusion term 1/2 int E|eps - eps_hat|^2 d log_snr of one example, drawn or integrated; also with T steps.
//
// It is the common part of the bound, of McAllester's formula (2301.11108) and of the I-MMSE form (2302.03792): they
// differ in their end terms alone. All integrals run over [log_snr(t_max), log_snr(t_min)].
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/likelihood/quadrature.hpp"

namespace scorenet::diffusion {

/// A term of each example in nats, (B) float64, and the denoiser evaluations each example cost.
struct IntegratedTerm {
  torch::Tensor nats;
  int64_t nfe = 0;
};

/// How to draw: noise and times are functions of (seed, slot, index of the draw) alone.
struct DrawOptions {
  uint64_t seed = 0;
  int64_t time_samples = 1;  // K draws an example, stratified over the K strata of log-SNR; >= 1
};

/// |eps - eps_hat(alpha x0 + sigma eps)|^2 of each example, (B) float64.
torch::Tensor eps_error(const Denoiser& denoiser, const torch::Tensor& x0, const torch::Tensor& eps,
                        const NoiseLevel& level);

/// The evaluation noise of draw `index` for x0 (B, ...), on x0's device. Index 0 is the reconstruction's.
torch::Tensor evaluation_noise(uint64_t seed, int64_t index, const std::vector<int64_t>& slots,
                               const torch::Tensor& x0);

/// Unbiased estimate from K times an example, uniform in log-SNR. Throws ConfigError if time_samples < 1.
IntegratedTerm drawn_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0, const std::vector<int64_t>& slots,
                                    const DrawOptions& options);

/// The same for T steps: sum_i 1/2 expm1(log_snr_{i-1} - log_snr_i) |eps - eps_hat_i|^2 on the grid of time_grid
/// (loss.hpp), estimated from K steps an example.
IntegratedTerm drawn_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0,
                                   const std::vector<int64_t>& slots, const DrawOptions& options);

/// The noise rule that integrates |eps - eps_hat|^2 for this denoiser and x0 (B, ...): a lattice for D <= 2, the
/// cubature above. Throws ConfigError where D > 2 and the denoiser is found not to be affine.
NoiseRule noise_rule_for(const Denoiser& denoiser, const Schedule& schedule,
                         const torch::Tensor& x0);

/// E|eps - eps_hat|^2 at time t by the rule: (B) float64. Throws ConfigError where rule and coarse rule disagree so
/// much that the finer cannot be trusted to 1e-6.
torch::Tensor expected_eps_error(const Denoiser& denoiser, const Schedule& schedule, double t,
                                 const torch::Tensor& x0, const NoiseRule& rule);

/// Without Monte Carlo: panels of Gauss-Legendre in log-SNR, noise by noise_rule_for. Throws ConfigError as those do.
IntegratedTerm exact_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0);
IntegratedTerm exact_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0);

}  // namespace scorenet::diffusion
