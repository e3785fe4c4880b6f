// The evaluators `elbo` and `elbo-T`: the variational bound on -log p(x0) (VDM, 2107.00630).
//
// Terms "prior", "diffusion" and "reconstruction" as in variational_bound.hpp. The kind is always
// `bound`: the `exact` versions give the bound's expectation without Monte Carlo, not -log p. The
// drawn versions are unbiased for each example.
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/diffusion/likelihood/diffusion_term.hpp"
#include "framework/diffusion/likelihood/result.hpp"
#include "framework/diffusion/variational_bound.hpp"

namespace scorenet::diffusion {

/// x0: (B, ...) in the dtype that the denoiser expects. slots: the examples' indices in the data
/// set; an example's noise is a function of its index.
LikelihoodResult elbo(const Denoiser& denoiser, const Schedule& schedule, Decoder decoder,
                      const torch::Tensor& x0, const std::vector<int64_t>& slots,
                      const DrawOptions& options);

/// With T = steps on a grid uniform in t between t_min and t_max. Throws ConfigError if steps < 1.
LikelihoodResult elbo_stepwise(const Denoiser& denoiser, const Schedule& schedule, Decoder decoder,
                               int64_t steps, const torch::Tensor& x0,
                               const std::vector<int64_t>& slots, const DrawOptions& options);

/// Without Monte Carlo: any denoiser for D <= 2, an affine one above; else ConfigError.
LikelihoodResult elbo_exact(const Denoiser& denoiser, const Schedule& schedule, Decoder decoder,
                            const torch::Tensor& x0);
LikelihoodResult elbo_stepwise_exact(const Denoiser& denoiser, const Schedule& schedule,
                                     Decoder decoder, int64_t steps, const torch::Tensor& x0);

/// The reconstruction's expectation over x_0, (B) float64, as elbo_exact takes it.
torch::Tensor exact_reconstruction_nats(const Denoiser& denoiser, const Schedule& schedule,
                                        Decoder decoder, const torch::Tensor& x0);

}  // namespace scorenet::diffusion
