// The diffusion term 1/2 int E|eps - eps_hat|^2 d log_snr of one example, drawn or integrated; also
// with T steps.
//
// It is the common part of the bound, of McAllester's formula (2301.11108) and of the
// I-MMSE form (2302.03792): they differ in their end terms alone. All integrals run
// over [log_snr(t_max), log_snr(t_min)].
#pragma once

#include <torch/types.h>

#include <functional>
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

/// KL of the reverse step from t down to s with the posterior's variance, 1/2
/// expm1(log_snr_s - log_snr_t) |eps - eps_hat|^2, or with the network's own where it learned one:
/// (B) float64, CPU.
torch::Tensor step_nats(const Denoiser& denoiser, const Schedule& schedule, const ReverseStep& step,
                        const torch::Tensor& x0, const torch::Tensor& eps);

/// The evaluation noise of draw `index` for x0 (B, ...), on x0's device. Index 0 is
/// the reconstruction's.
torch::Tensor evaluation_noise(uint64_t seed, int64_t index, const std::vector<int64_t>& slots,
                               const torch::Tensor& x0);

/// Unbiased estimate from K times an example, uniform in log-SNR. Throws ConfigError if
/// time_samples < 1.
IntegratedTerm drawn_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0, const std::vector<int64_t>& slots,
                                    const DrawOptions& options);

/// The same for T steps: the sum of step_nats over the grid of time_grid (loss.hpp), estimated from
/// K steps an example.
IntegratedTerm drawn_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0,
                                   const std::vector<int64_t>& slots, const DrawOptions& options);

/// Rules for functions of the noise beside this denoiser and x0 (B, ...), each with a second one to
/// compare it with: for D <= 2 lattices, each of half the spacing of the one before; the cubatures
/// alone for D > 2. Throws ConfigError where D > 2 and the denoiser is found not to be affine by a
/// first look at five levels.
std::vector<NoiseRule> noise_rules_for(const Denoiser& denoiser, const Schedule& schedule,
                                       const torch::Tensor& x0);

/// A function of noised examples at their own levels: x0, eps (rows, ...), level
/// (rows) -> (rows) float64.
using NoisedTerm = std::function<torch::Tensor(const torch::Tensor& x0, const torch::Tensor& eps,
                                               const NoiseLevel& level)>;

/// E term(x0, eps, level) over the noise, example i at time t[i] (t (B) float64), by the first of
/// the rules that agrees with its second one to 1e-7 (1e-5 for float32 data). For D > 2 the
/// denoiser must be affine over the noise about every x0 at its t. Throws ConfigError where it is
/// not, or where the last rule's error may be more than exact_error allows. An example without a
/// finite value keeps that.
IntegratedTerm expected_over_noise(const NoisedTerm& term, const Denoiser& denoiser,
                                   const Schedule& schedule, const torch::Tensor& t,
                                   const torch::Tensor& x0, const std::vector<NoiseRule>& rules);

/// E|eps - eps_hat|^2 (as `nats`) in that way.
IntegratedTerm expected_eps_error(const Denoiser& denoiser, const Schedule& schedule,
                                  const torch::Tensor& t, const torch::Tensor& x0,
                                  const std::vector<NoiseRule>& rules);

/// Without Monte Carlo: adaptive panels in log-SNR, noise by noise_rules_for. Throws ConfigError as
/// those do and where the panels' two rules differ by more than exact_error allows.
IntegratedTerm exact_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0);
IntegratedTerm exact_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0);

}  // namespace scorenet::diffusion
