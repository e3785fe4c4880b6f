// Denoising losses of each example: a weight w(t) times the squared error of the network's
// prediction.
//
// The diffusion term of -log p(x0), for every prediction and every density of t (Kingma et al.
// 2021, 2107.00630, eq. 18; Song et al. 2021, 2101.09258, theorem 1):
//     1/2 int -(d log_snr / dt) E|eps - eps_hat|^2 dt = 1/2 int g^2 E|score - score_hat|^2 dt.
// One draw of t with density p(t) gives w(t) / p(t) |target - prediction|^2. With s =
// sigma / alpha:
//
//     name         weight                                   on                   source
//     elbo         -(d log_snr / dt) / 2, in nats           |eps - eps_hat|^2    2107.00630, eq. 18
//     likelihood   the same                                 |eps - eps_hat|^2    2101.09258, thm. 1
//     simple       1; sigma^2 for the score                 its own error        2006.11239, eq. 14
//     edm          (s^2 + sigma_data^2) / (s sigma_data)^2  |x0 - x0_hat|^2      2206.00364, tab. 1
//     min_snr      min(snr, cap), cap = 5                   |x0 - x0_hat|^2      2303.09556
//
// "likelihood" is the diffusion term alone; "elbo" is trained with the two end terms of
// variational_bound.hpp as well. The weights simple, edm and min_snr are not divided by p(t): how
// times are drawn is part of those losses.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/parametrisation.hpp"
#include "framework/diffusion/time_sampler.hpp"

namespace scorenet::diffusion {

enum class Weighting { elbo, likelihood, simple, edm, min_snr };

/// Throws ConfigError that lists the names.
Weighting weighting_from_name(const std::string& name);

/// (B) float64: the weight on |target - prediction|^2, summed over dimensions, with 1 / p(t)
/// where it applies.
torch::Tensor loss_weight(Weighting weighting, const Parametrisation& parametrisation,
                          const Schedule& schedule, const TimeSample& times,
                          double min_snr_cap = kMinSnrCap);

/// The loss of each example, (B) float64, summed over its dimensions; for elbo and likelihood an
/// unbiased estimate of the diffusion term in nats. x0, eps: (B, ...), same shape; gradients flow
/// into the network's parameters. The network's output is converted to float32 (or wider) before it
/// is compared. Throws ShapeError.
torch::Tensor loss_per_example(const Network& network, const Parametrisation& parametrisation,
                               Weighting weighting, const Schedule& schedule,
                               const torch::Tensor& x0, const TimeSample& times,
                               const torch::Tensor& eps, double min_snr_cap = kMinSnrCap);

/// |target - prediction|^2 of each example, (B) float64.
torch::Tensor squared_error(const Network& network, const Parametrisation& parametrisation,
                            const torch::Tensor& x0, const torch::Tensor& eps,
                            const NoiseLevel& level);

/// The T-step grid: t_i = t_min + (t_max - t_min) i / T, i = 0..T, (T + 1) float64. Throws
/// ConfigError if T < 1.
torch::Tensor step_times(const Schedule& schedule, int64_t steps);

/// One step of the reverse chain: from t down to s < t, t and s of shape (B).
struct ReverseStep {
  torch::Tensor s;
  torch::Tensor t;
};
/// Steps of the grid that step_times() returns: i down to i - 1. i: (B) int64 in 1..T.
ReverseStep reverse_step(const torch::Tensor& grid, const torch::Tensor& i);

/// (B) float64: the weight of a step on |target - prediction|^2 in KL(q(x_s given x_t, x0) ||
/// p(x_s given x_t)) with the posterior's own variance: (snr_s - snr_t) / 2 on the error of x0,
/// expm1(log_snr_s - log_snr_t) / 2 on that of eps, sigma_t^2 times that on the score's (Luo 2022,
/// 2208.11970, eq. 99, 130 and 148, in terms of snr).
torch::Tensor step_weight(const Parametrisation& parametrisation, const Schedule& schedule,
                          const ReverseStep& step);

/// One-term estimate of the T-step diffusion term in nats, (B) float64 (2107.00630, eq. 14):
///     T / 2 expm1(log_snr(s) - log_snr(t)) |eps - eps_hat(x_t)|^2,   t = t_i, s = t_{i-1}.
/// step: i is drawn uniformly (steps_from_positions). The bound is the mean over i, so it has the
/// factor T.
torch::Tensor stepwise_loss_per_example(const Network& network,
                                        const Parametrisation& parametrisation,
                                        const Schedule& schedule, int64_t steps,
                                        const torch::Tensor& x0, const ReverseStep& step,
                                        const torch::Tensor& eps);

/// i = floor(u T) + 1 in 1..T: (B) int64. (VDM's ceil(u T) would give i = 0 at u = 0.)
torch::Tensor steps_from_positions(const torch::Tensor& positions, int64_t steps);

}  // namespace scorenet::diffusion
