// Which results may be called exact, and the error for those that may not.
//
// A result is called exact, or computed with --exact, only if two rules agree in every variable
// that it integrates or approximates, for the given data: the noise (quadrature.hpp), log-SNR
// (adaptive_integral.hpp), the assumption that a denoiser is affine, and here the steps of a
// solver. If two rules differ by more than is allowed, the evaluator throws ConfigError, which
// names the variable, the place, the example and the difference.
#pragma once

#include <torch/types.h>

#include <string>

#include "framework/core/error.hpp"

namespace scorenet::diffusion {

/// The relative error that exact evaluation of float64 data leaves at most: |error| <= kExactError
/// (1 + |value|).
constexpr double kExactError = 1e-6;

/// The same for data in this type: a network in float32 rounds more coarsely.
double exact_error(torch::ScalarType type);

/// Throws ConfigError: "--exact: `what` by `by` (`allowed` is allowed) for the example x = (...);
/// `because`. Leave out --exact." x: (B, ...), of which row `row` is meant.
[[noreturn]] void refuse_exact(const std::string& what, double by, double allowed,
                               const torch::Tensor& x, int64_t row, const std::string& because);

/// How finely an ODE is solved: steps > 0 equal Runge-Kutta steps, or an adaptive solver
/// with these tolerances.
struct SolverPrecision {
  int64_t steps = 0;
  double rtol = 1e-9;
  double atol = 1e-9;

  /// The second rule: half as many steps (one step: two), or ten times the tolerances.
  SolverPrecision second() const;
};

/// The relative error that a solve at this precision may have: exact_error, or up to 1e-4 if the
/// user chose coarser steps or tolerances.
double allowed_error(const SolverPrecision& precision, torch::ScalarType type);

/// Whether an evaluator's values (B) at a precision and at its second one differ by at most
/// allowed_error. An example whose first value is not finite has failed and is not compared. type:
/// of the data.
bool agree(const torch::Tensor& values, const torch::Tensor& second,
           const SolverPrecision& precision, torch::ScalarType type);

/// Throws as refuse_exact unless they agree. `quantity` names the values: "ode, -log p".
void require_agreement(const std::string& quantity, const torch::Tensor& values,
                       const torch::Tensor& second, const SolverPrecision& precision,
                       const torch::Tensor& x);

/// Throws ConfigError unless the log-SNRs (b) found at a schedule's times are those wanted. A
/// learned schedule may rise too steeply for float64; both rules would then miss the same
/// part and agree.
void require_levels(const torch::Tensor& wanted, const torch::Tensor& found);

}  // namespace scorenet::diffusion
