// Exact maps between the quantities a network may predict.
//
// With x_t = alpha x0 + sigma eps, S = alpha^2 + sigma^2 and N = sigma^2 + sigma_data^2 alpha^2:
//
//     score = -eps / sigma
//     v     = alpha eps - sigma x0
//         x0  = (alpha x_t - sigma v) / S
//         eps = (sigma x_t + alpha v) / S
//     F     = (sigma x0 / sigma_data - sigma_data alpha eps) / sqrt(N)
//         x0  = sigma_data^2 alpha x_t / N + sigma sigma_data F / sqrt(N)
//         eps = sigma x_t / N - alpha sigma_data F / sqrt(N)
//
// v: Salimans & Ho 2022, 2202.00512, app. D; S = 1 where the variance is preserved. F: Karras et
// al. 2022, 2206.00364, eq. 7 and 8, here in x_t's own scale. Each estimate is formed by the route
// that divides by nothing small. F and v give both at full precision. x0 gives x0, and eps gives
// eps, exactly; the other of the two loses digits only where it carries no information.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/loss_constants.hpp"

namespace scorenet::diffusion {

enum class Prediction { x0, eps, v, score, F };

/// What a network's output means. sigma_data is the standard deviation of the data that
/// EDM's F assumes.
struct Parametrisation {
  Prediction prediction = Prediction::eps;
  double sigma_data = kSigmaData;
  bool learned_variance = false;  // a second tensor follows: Denoised::raw_variance
};

/// "x0", "eps", "v", "score", "F". Throws ConfigError that lists them.
Prediction prediction_from_name(const std::string& name);
std::string name_of(Prediction prediction);

/// Both estimates that a prediction implies. x_t, prediction: (B, ...), same shape; level:
/// (B) float64. Returns tensors of x_t's shape and dtype (a bfloat16 prediction is raised to
/// it). Throws ShapeError.
Denoised denoised_from(const Parametrisation& parametrisation, const torch::Tensor& prediction,
                       const torch::Tensor& x_t, const NoiseLevel& level);

/// What the network should have said for the given x0 and eps, same shape and dtype as
/// x0. Throws ShapeError.
torch::Tensor target_from(const Parametrisation& parametrisation, const torch::Tensor& x0,
                          const torch::Tensor& eps, const NoiseLevel& level);

/// (B) float64: c with |eps - eps_hat|^2 = c |target - prediction|^2.
torch::Tensor eps_error_ratio(const Parametrisation& parametrisation, const NoiseLevel& level);

/// score = -eps_hat / sigma.
torch::Tensor score_from_eps(const torch::Tensor& eps, const NoiseLevel& level);
/// x_t = alpha x0 + sigma eps, in x0's dtype. Throws ShapeError if x0 and eps differ in shape.
torch::Tensor add_noise(const torch::Tensor& x0, const torch::Tensor& eps, const NoiseLevel& level);

}  // namespace scorenet::diffusion
