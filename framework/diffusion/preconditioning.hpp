// Makes a denoiser of a raw network: scales its input to order one and converts its output.
//
// The network's input is c_in x_t:
//
//     F            c_in = 1 / sqrt(sigma^2 + sigma_data^2 alpha^2)    in x_t's own scale
//     the others   c_in = 1 / sqrt(alpha^2 + sigma^2)
//
// F: Karras et al. 2022, 2206.00364, table 1. The others' c_in is 1 where the variance is
// preserved; with alpha = 1 and sigma^2 = t it is McAllester's 1 / sqrt(1 + t) (2023,
// 2301.11108). c_skip and c_out are the conversion of F in parametrisation.hpp. The network gets
// the noise level as log_snr. EDM's c_noise = log(sigma / alpha) / 4 equals -log_snr / 8; the
// embedding chooses the scale.
#pragma once

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/parametrisation.hpp"

namespace scorenet::diffusion {

/// c_in as above, (B) float64.
torch::Tensor input_scale(const Parametrisation& parametrisation, const NoiseLevel& level);

/// The network's raw output for x_t (B, ...): network(c_in x_t, log_snr).
torch::Tensor predict(const Network& network, const Parametrisation& parametrisation,
                      const torch::Tensor& x_t, const NoiseLevel& level);

/// The denoiser of `network`: x0_hat and eps_hat, each by the route that divides by nothing small,
/// and raw_variance if the network returns it. Each call calls `network` once.
Denoiser make_denoiser(Network network, const Parametrisation& parametrisation);

}  // namespace scorenet::diffusion
