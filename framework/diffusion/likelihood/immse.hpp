// The evaluator `immse`: -log p from the I-MMSE relation (Kong, Brekelmans, Ver Steeg 2023,
// 2302.03792, eq. 9; Guo, Shamai, Verdu 2005), truncated to the schedule's own SNRs:
//     -log p(x) ~ D/2 log(2 pi e) - 1/2 int_{snr_1}^{snr_0} [D / (1 + snr) - mse_x(x, snr)] d snr
//               = D/2 log(2 pi e) - D/2 log((1 + snr_0) / (1 + snr_1))
//                 + 1/2 int E|eps - eps_hat|^2 dL.
// The reference is a standard Gaussian, whose mmse is D / (1 + snr). The integral outside [snr_1,
// snr_0] is left out; for x0 ~ N(mu, s^2 I) that error is known in closed form (see the tests). The
// value is neither a bound nor exact: kind `estimate`.
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/diffusion/likelihood/diffusion_term.hpp"
#include "framework/diffusion/likelihood/result.hpp"

namespace scorenet::diffusion {

/// Terms "reference" (all but the last integral) and "diffusion". x0 (B, ...), slots
/// as in elbo.hpp.
LikelihoodResult immse(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x0,
                       const std::vector<int64_t>& slots, const DrawOptions& options);
/// Without Monte Carlo; refuses with ConfigError as exact_diffusion_term does.
LikelihoodResult immse_exact(const Denoiser& denoiser, const Schedule& schedule,
                             const torch::Tensor& x0);

}  // namespace scorenet::diffusion
