// A raw network made a denoiser: its input scaled to order one under every schedule, its output
// given a meaning.
//
// The input is c_in x_t with
//     c_in = 1 / sqrt(sigma^2 + sigma_data^2 alpha^2)    for F (Karras et al. 2022, 2206.00364,
//     table 1, in x_t's scale), c_in = 1 / sqrt(alpha^2 + sigma^2)                 for the others:
//     1 where the variance is preserved, and for
//                                                        alpha = 1, sigma^2 = t the 1 / sqrt(1 + t)
//                                                        of McAllester 2023.
// c_skip and c_out are the conversion of F in parametrisation.hpp. The noise level reaches the
// network as log_snr, of which EDM's c_noise = log(sigma / alpha) / 4 is -1/8: the scale is the
// embedding's business.
#pragma once

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/parametrisation.hpp"

namespace scorenet::diffusion {

/// c_in as above, (B) float64.
torch::Tensor input_scale(const Parametrisation& parametrisation, const NoiseLevel& level);

/// The network's raw output for x_t (B, ...): network(c_in x_t, log_snr).
torch::Tensor predict(const Network& network, const Parametrisation& parametrisation,
                      const torch::Tensor& x_t, const NoiseLevel& level);

/// Both x0_hat and eps_hat, each by its well-conditioned route, and raw_variance where the network says it. `network` is
/// called once a call.
Denoiser make_denoiser(Network network, const Parametrisation& parametrisation);

}  // namespace scorenet::diffusion
