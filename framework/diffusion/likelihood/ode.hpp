// The evaluator `ode`: -log p(x) of the probability-flow ODE model by the instantaneous
// change of variables.
//
//     log p(x) = log N(x_T; 0, P I) + int_{t_min}^{t_max} div F dt,   x(t_min) = x
// (Chen et al. 2018, 1806.07366, theorem 1; Song et al. 2021, 2011.13456, eq. 39), integrated from
// data to noise, in log-SNR (probability_flow.hpp). x itself is the state at t_min. Solvers:
// Dormand-Prince and Runge-Kutta (ode_solver.hpp), and Adams (adams_flow.hpp), which needs a tenth
// of their evaluations for the same error where a network takes the part of eps_hat. The divergence
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

/// Some 0.003 bits a dimension. The error itself is several times smaller, as the last doubling is
/// kept.
constexpr double kAdamsTolerance = 2e-3;

struct OdeLikelihoodOptions {
  bool exact_trace = false;  // else `probes` probes an example
  int64_t probes = 1;
  int64_t steps = 0;                // 0: as the tolerance asks; else this many, uniform in log-SNR
  double rtol = OdeOptions{}.rtol;  // Dormand-Prince: per example, on (x, log p) together
  double atol = OdeOptions{}.atol;
  uint64_t seed = 0;
  bool adams = false;  // else Dormand-Prince, or with `steps` Runge-Kutta
  /// Adams: the steps are doubled until -log p moves by no more than this many nats a dimension.
  double tolerance = kAdamsTolerance;
  /// The denoiser tells each example something by its place in the batch, such as a label: it is
  /// always called for the whole batch.
  bool whole_batch = false;
};

/// x (B, ...); slots: B indices in the data set, which name the probes. Kind `estimate`: of log p
/// itself it is unbiased up to solver error, or free of all but that with the exact trace. Terms:
/// "prior" = -log N(x_T), "volume" = -int div F dt. nfe counts right-hand sides (denoiser with its
/// divergence), those of all doublings. solver_error: by Adams without `steps`, how far the last
/// doubling moved -log p; NaN for an example that had not settled after 256 steps and was solved by
/// Dormand-Prince instead. An example whose solve fails is NaN, never left out. Throws ConfigError
/// if probes < 1, steps < 0 or a tolerance is not positive, ShapeError if slots and x do not fit.
LikelihoodResult ode_likelihood(const Denoiser& denoiser, const Schedule& schedule,
                                const torch::Tensor& x, const std::vector<int64_t>& slots,
                                const OdeLikelihoodOptions& options);

/// With the exact trace, at two precisions (exactness.hpp). Kind `exact`; nfe counts both. Throws
/// as exactness.hpp says where they differ.
LikelihoodResult ode_likelihood_exact(const Denoiser& denoiser, const Schedule& schedule,
                                      const torch::Tensor& x, const std::vector<int64_t>& slots,
                                      const SolverPrecision& precision, bool whole_batch = false);

/// The Rademacher probes of these slots: (B, ...) float64 on x's device. `index`
/// numbers independent sets.
torch::Tensor trace_probes(uint64_t seed, int64_t index, const std::vector<int64_t>& slots,
                           const torch::Tensor& x);

}  // namespace scorenet::diffusion
