// The diffusion term 1/2 int E|eps - eps_hat|^2 d log_snr of each example, estimated by draws or
// integrated; also its form with T steps.
//
// It is the common part of the bound, of McAllester's formula (2301.11108) and of the I-MMSE form
// (2302.03792), which differ only in their end terms. All integrals run over [log_snr(t_max),
// log_snr(t_min)].
#pragma once

#include <torch/types.h>

#include <functional>
#include <vector>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/learned_weights.hpp"
#include "framework/diffusion/likelihood/quadrature.hpp"

namespace scorenet::diffusion {

/// A term of each example in nats, and the denoiser evaluations spent on it: both (B) float64, CPU.
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

/// KL of the reverse step from t down to s: (B) float64, CPU. With the posterior's variance it is
/// 1/2 expm1(log_snr_s - log_snr_t) |eps - eps_hat|^2. A network that learned a variance uses that.
torch::Tensor step_nats(const Denoiser& denoiser, const Schedule& schedule, const ReverseStep& step,
                        const torch::Tensor& x0, const torch::Tensor& eps);

/// The evaluation noise of draw `index` for x0 (B, ...), on x0's device. Draw 0 is that of the
/// reconstruction term.
torch::Tensor evaluation_noise(uint64_t seed, int64_t index, const std::vector<int64_t>& slots,
                               const torch::Tensor& x0);

/// Unbiased estimate from K times an example, uniform in log-SNR. Throws ConfigError if
/// time_samples < 1.
IntegratedTerm drawn_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0, const std::vector<int64_t>& slots,
                                    const DrawOptions& options);

/// The same for T steps: the sum of step_nats over step_times (loss.hpp), estimated from
/// K steps an example.
IntegratedTerm drawn_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0,
                                   const std::vector<int64_t>& slots, const DrawOptions& options);

/// Rules for expectations over the noise with this denoiser and x0 (B, ...). Each rule has a second
/// one to compare it with. For D <= 2 they are lattices, each with half the spacing of the one
/// before; for D > 2 the cubatures alone. Throws ConfigError if D > 2 and a first check at five
/// levels finds that the denoiser is not affine.
std::vector<NoiseRule> noise_rules_for(const Denoiser& denoiser, const Schedule& schedule,
                                       const torch::Tensor& x0);

/// A function of noised examples at their own levels: x0, eps (rows, ...), level
/// (rows) -> (rows) float64.
using NoisedTerm = std::function<torch::Tensor(const torch::Tensor& x0, const torch::Tensor& eps,
                                               const NoiseLevel& level)>;

/// E term(x0, eps, level) over the noise, example i at time t[i] (t (B) float64). Takes the first
/// rule that agrees with its second one to 1e-7 (1e-5 for float32 data). For D > 2 the denoiser
/// must be affine over the noise about every x0 at its t. Throws ConfigError if it is not, or if
/// the last rule's error may be more than exact_error allows. A value that is not finite stays so.
IntegratedTerm expected_over_noise(const NoisedTerm& term, const Denoiser& denoiser,
                                   const Schedule& schedule, const torch::Tensor& t,
                                   const torch::Tensor& x0, const std::vector<NoiseRule>& rules);

/// E|eps - eps_hat|^2 (as `nats`), computed in the same way.
IntegratedTerm expected_eps_error(const Denoiser& denoiser, const Schedule& schedule,
                                  const torch::Tensor& t, const torch::Tensor& x0,
                                  const std::vector<NoiseRule>& rules);

/// Without Monte Carlo: adaptive panels in log-SNR, noise by noise_rules_for. Throws ConfigError as
/// noise_rules_for does, and if the panels' two rules differ by more than exact_error allows.
IntegratedTerm exact_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0);
IntegratedTerm exact_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0);

}  // namespace scorenet::diffusion
