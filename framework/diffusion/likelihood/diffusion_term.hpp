// The diffusion term 1/2 int E|eps - eps_hat|^2 d log_snr of one example, drawn or integrated; also with T steps.
//
// It is the common part of the bound, of McAllester's formula (2301.11108) and of the I-MMSE form (2302.03792): they
// differ in their end terms alone. All integrals run over [log_snr(t_max), log_snr(t_min)].
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/learned_weights.hpp"
#include "framework/diffusion/likelihood/quadrature.hpp"

namespace scorenet::diffusion {

/// A term of each example in nats and the denoiser evaluations that it cost: both (B) float64, CPU.
struct IntegratedTerm {
  torch::Tensor nats;
  torch::Tensor nfe;
};

/// How to draw: noise and times are functions of (seed, slot, index of the draw) alone.
struct DrawOptions {
  uint64_t seed = 0;
  int64_t time_samples = 1;  // K draws an example, stratified over the K strata of log-SNR; >= 1
};

/// |eps - eps_hat(alpha x0 + sigma eps)|^2 of each example, (B) float64.
torch::Tensor eps_error(const Denoiser& denoiser, const torch::Tensor& x0, const torch::Tensor& eps,
                        const NoiseLevel& level);

/// KL of the reverse step from t down to s with the posterior's variance, 1/2 expm1(log_snr_s - log_snr_t) |eps - eps_hat|^2, or
/// with the network's own where it learned one: (B) float64, CPU.
torch::Tensor step_nats(const Denoiser& denoiser, const Schedule& schedule, const ReverseStep& step,
                        const torch::Tensor& x0, const torch::Tensor& eps);

/// The evaluation noise of draw `index` for x0 (B, ...), on x0's device. Index 0 is the reconstruction's.
torch::Tensor evaluation_noise(uint64_t seed, int64_t index, const std::vector<int64_t>& slots,
                               const torch::Tensor& x0);

/// Unbiased estimate from K times an example, uniform in log-SNR. Throws ConfigError if time_samples < 1.
IntegratedTerm drawn_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0, const std::vector<int64_t>& slots,
                                    const DrawOptions& options);

/// The same for T steps: the sum of step_nats over the grid of time_grid (loss.hpp), estimated from K steps an example.
IntegratedTerm drawn_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0,
                                   const std::vector<int64_t>& slots, const DrawOptions& options);

/// A fixed rule for smooth functions of the noise beside this denoiser and x0 (B, ...): a lattice for D <= 2, the cubature
/// above. Throws ConfigError where D > 2 and the denoiser is found not to be affine.
NoiseRule noise_rule_for(const Denoiser& denoiser, const Schedule& schedule,
                         const torch::Tensor& x0);

/// Rules for |eps - eps_hat|^2, each of half the spacing of the one before; the cubature alone for D > 2. Throws as above.
std::vector<NoiseRule> noise_rules_for(const Denoiser& denoiser, const Schedule& schedule,
                                       const torch::Tensor& x0);

/// E|eps - eps_hat|^2 at time t (as `nats`), each example by the first of the rules that agrees with its own coarse half to
/// 1e-7 (1e-5 for float32 data). Throws ConfigError where the last still differs so much that 1e-6 is out of reach.
IntegratedTerm expected_eps_error(const Denoiser& denoiser, const Schedule& schedule, double t,
                                  const torch::Tensor& x0, const std::vector<NoiseRule>& rules);

/// Without Monte Carlo: panels of Gauss-Legendre in log-SNR, noise by noise_rules_for. Throws ConfigError as those do.
IntegratedTerm exact_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0);
IntegratedTerm exact_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0);

}  // namespace scorenet::diffusion
