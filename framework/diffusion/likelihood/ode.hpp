// The evaluator `ode`: -log p(x) of the probability-flow ODE model by the instantaneous
// change of variables.
//
//     log p(x) = log N(x_T; 0, P I) + int_{t_min}^{t_max} div F dt,   x(t_min) = x
// (Chen et al. 2018, 1806.07366, theorem 1; Song et al. 2021, 2011.13456, eq. 39), integrated from
// data to noise, in log-SNR (probability_flow.hpp). x itself is the state at t_min. The divergence
// is exact or Hutchinson's (Grathwohl et al. 2019, 1810.01367) with Rademacher probes that belong
// to the example's slot and stay fixed along its trajectory.
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/likelihood/exactness.hpp"
#include "framework/diffusion/likelihood/result.hpp"
#include "framework/diffusion/ode_solver.hpp"

namespace scorenet::diffusion {

struct OdeLikelihoodOptions {
  bool exact_trace = false;  // else `probes` probes an example
  int64_t probes = 1;
  int64_t steps = 0;  // 0: adaptive Dormand-Prince; else this many RK4 steps, uniform in log-SNR
  double rtol = OdeOptions{}.rtol;  // adaptive: per example, on (x, log p) together
  double atol = OdeOptions{}.atol;
  uint64_t seed = 0;
};

/// x (B, ...); slots: B indices in the data set, which name the probes. Kind `estimate`: of log p
/// itself it is unbiased up to solver error, or free of all but that with the exact trace. Terms:
/// "prior" = -log N(x_T), "volume" = -int div F dt. nfe counts right-hand sides (denoiser with its
/// divergence). An example whose solve fails is NaN, never left out. Throws ConfigError if probes <
/// 1, steps < 0 or a tolerance is not positive, ShapeError if slots and x do not fit.
LikelihoodResult ode_likelihood(const Denoiser& denoiser, const Schedule& schedule,
                                const torch::Tensor& x, const std::vector<int64_t>& slots,
                                const OdeLikelihoodOptions& options);

/// With the exact trace, at two precisions (exactness.hpp). Kind `exact`; nfe counts both. Throws
/// as exactness.hpp says where they differ.
LikelihoodResult ode_likelihood_exact(const Denoiser& denoiser, const Schedule& schedule,
                                      const torch::Tensor& x, const std::vector<int64_t>& slots,
                                      const SolverPrecision& precision);

/// The Rademacher probes of these slots: (B, ...) float64 on x's device. `index`
/// numbers independent sets.
torch::Tensor trace_probes(uint64_t seed, int64_t index, const std::vector<int64_t>& slots,
                           const torch::Tensor& x);

}  // namespace scorenet::diffusion
