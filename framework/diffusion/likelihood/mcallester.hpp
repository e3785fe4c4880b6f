// The evaluator `mcallester`: the schedule-free form of McAllester 2023, 2301.11108 (its eq. 10),
// with a finite range:
//     -log p(x) = KL(q(z_1 | x) || q(z_1)) + 1/2 int E|eps - eps_hat|^2 dL + E[-log p(x | z_0)],
// L = log_snr from t_max (z_1) to t_min (z_0). With the exact denoiser and the true end terms this
// is an equality for every x. All conditionals are the diffusion's own; nothing is variational. A
// model that does not know its end terms uses those of the bound: the KL to the prior, and a
// decoder. The numbers are then those of `elbo`, but they are read as an estimate of -log p of the
// data's law. For a single x the estimate may lie on either side.
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/diffusion/gaussian_mixture.hpp"
#include "framework/diffusion/likelihood/diffusion_term.hpp"
#include "framework/diffusion/likelihood/result.hpp"
#include "framework/diffusion/variational_bound.hpp"

namespace scorenet::diffusion {

// Terms of all four: "prior" (noisy end), "diffusion", "reconstruction" (clean end). x0 (B, ...),
// slots as in elbo.hpp.

/// The bound's end terms, kind `estimate`.
LikelihoodResult mcallester(const Denoiser& denoiser, const Schedule& schedule, Decoder decoder,
                            const torch::Tensor& x0, const std::vector<int64_t>& slots,
                            const DrawOptions& options);
/// The same without Monte Carlo; refuses with ConfigError as exact_diffusion_term does.
LikelihoodResult mcallester_exact(const Denoiser& denoiser, const Schedule& schedule,
                                  Decoder decoder, const torch::Tensor& x0);

/// The mixture's exact denoiser and true end terms, kind `exact`: each example's expectation
/// is -log p(x0).
LikelihoodResult mcallester(const GaussianMixture& mixture, const Schedule& schedule,
                            const torch::Tensor& x0, const std::vector<int64_t>& slots,
                            const DrawOptions& options);
/// The same without Monte Carlo: -log p(x0) at every point. Refuses as above. REQUIRES covariances
/// of full rank.
LikelihoodResult mcallester_exact(const GaussianMixture& mixture, const Schedule& schedule,
                                  const torch::Tensor& x0);

/// What the last one ends with: values (B) against the mixture's own -log p(x0), which the formula
/// equals, so that whatever no rule has noticed shows here. Throws ConfigError as refuse_exact.
void require_density(const torch::Tensor& nats, const GaussianMixture& mixture,
                     const torch::Tensor& x0);

}  // namespace scorenet::diffusion
