// Second-order flow matching: trains the divergence of the network beside its value, for
// likelihoods by the ODE.
//
// Where the variance is preserved, v_hat = E[v given x_t] obeys (second-order Tweedie: tr
// Cov(eps given x_t) = D - sigma div eps_hat, and v = (eps - sigma x_t) / alpha)
//     sigma div v_hat = alpha (D - E[|v - v_hat|^2 given x_t]),
// so the squared difference of the two sides, with |v - v_hat|^2 of the draw held fixed, is least
// where div v_hat is the posterior's own (i-DODE, Zheng et al. 2023, 2305.03935, the
// error-bounded second-order objective).
#pragma once

#include <torch/types.h>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {

///     |v - v_hat|^2 + weight / D [sigma probe^T J probe - alpha (D - |v - v_hat|^2)]^2
/// of each example, (B) float64, the bracket's error detached. Multiply it by a loss's weight on
/// |v - v_hat|^2. J = d v_hat / d x_t. probe: +-1, as x0 (its square has a further term, the
/// variance of the probed trace). REQUIRES a v-prediction under a schedule with
/// alpha^2 + sigma^2 = 1. Costs a double backward pass. Throws ShapeError.
torch::Tensor second_order_error(const Network& network, const Schedule& schedule,
                                 const torch::Tensor& x0, const torch::Tensor& t,
                                 const torch::Tensor& eps, const torch::Tensor& probe,
                                 double weight);

}  // namespace scorenet::diffusion
