// The noise levels of networks that were trained on numbered steps, as DDPM's and diffusers' are.
//
//     log_snr(i) = log(A_i / (1 - A_i)),   A_i = product of (1 - beta_j), j <= i,   i = 0 .. n - 1
//
//     linear           beta from beta_min to beta_max (Ho et al. 2020, 2006.11239)
//     scaled_linear    sqrt(beta) from root to root (latent diffusion)
//     squared_cosine   min(1 - f((i + 1) / n) / f(i / n), 0.999) with
//                      f(t) = cos^2(pi/2 (t + 0.008) / 1.008)
//                      (Nichol & Dhariwal 2021, 2102.09672, equation 17)
//     sigmoid          beta_min + (beta_max - beta_min) / (1 + e^-y), y from -6 to 6 (diffusers)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace scorenet::diffusion {

struct DiscreteSteps {
  int64_t steps = 1000;
  std::string law = "linear";
  double beta_min = 1e-4;  // all but squared_cosine
  double beta_max = 0.02;  // all but squared_cosine
};

/// beta of every step. Throws as log_snr_of_steps.
std::vector<double> betas_of_steps(const DiscreteSteps& discrete);

/// log_snr of every step, falling, nats. Throws ConfigError for fewer than 2 steps, an unknown law,
/// or betas outside (0, 1) or not rising.
std::vector<double> log_snr_of_steps(const DiscreteSteps& discrete);

std::vector<std::string> discrete_laws();

}  // namespace scorenet::diffusion
