// The probability flow with its volume by a multistep method: one network evaluation a step.
//
// With y = x / alpha and L = log_snr the flow of probability_flow.hpp is
//     dy/dL = -1/2 exp(-L / 2) eps_hat(alpha y, L),
//     log |dx(end) / dx(start)| = D log(alpha_end / alpha_start) - int sigma / 2 div eps_hat dL,
// in which the linear part is gone and eps_hat is the only unknown. eps_hat is taken for the
// polynomial in L through its last values, and each step is then integrated exactly (exponential
// Adams: Zhang & Chen 2023, 2204.13902; DPM-Solver, Lu et al. 2022, 2206.00927, is like it).
// A predictor through three values is followed by a corrector through these and the new one, which
// costs nothing: the value at the predicted state also begins the next step (UniC, Zhao et al.
// 2023, 2302.04867). The volume is integrated through the same four values. The first two steps
// know fewer values, so the error falls with the third power of the step.
#pragma once

#include <torch/types.h>

#include <functional>

#include "framework/diffusion/likelihood/probability_flow.hpp"

namespace scorenet::diffusion {

/// eps_hat (b, ...) and its divergence (b) for some examples; rows (b) int64: which of the batch.
using EpsField = std::function<EpsDivergence(const torch::Tensor& rows, const torch::Tensor& x,
                                             const NoiseLevel& level)>;

struct FlowEnd {
  torch::Tensor x;       // (b, ...) float64 at the noisy end
  torch::Tensor volume;  // (b): log |dx(end) / dx(start)|
};

/// From x (b, ...) float64 at the clean end of the schedule to its noisy end in `steps` steps,
/// uniform in log-SNR: steps + 1 calls of `field`. Throws ConfigError if steps < 1.
FlowEnd adams_flow(const EpsField& field, const Schedule& schedule, const torch::Tensor& rows,
                   const torch::Tensor& x, int64_t steps);

}  // namespace scorenet::diffusion
