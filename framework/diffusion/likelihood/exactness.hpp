// What may be called exact, and the sentence of its refusal.
//
// A result says *exact*, or is computed with --exact, only after two rules were compared in every
// variable that it integrates or approximates, at the data's own places: the noise
// (quadrature.hpp), log-SNR (adaptive_integral.hpp), the affinity that a rule relies on, and here
// the steps of a solver. Where two rules differ by more than is allowed the evaluator throws:
// ConfigError, which names the variable, the place, the example and the difference.
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

/// The relative error that a solve at this precision may have: exact_error, but for steps and
/// tolerances that were chosen coarser, up to 1e-4.
double allowed_error(const SolverPrecision& precision, torch::ScalarType type);

/// Whether an evaluator's (B) values at a precision and at its second one differ by no more
/// than that; examples whose first value is not finite have failed and are not compared. type:
/// of the data.
bool agree(const torch::Tensor& values, const torch::Tensor& second,
           const SolverPrecision& precision, torch::ScalarType type);

/// Throws as refuse_exact unless they agree. `quantity` names the values: "ode, -log p".
void require_agreement(const std::string& quantity, const torch::Tensor& values,
                       const torch::Tensor& second, const SolverPrecision& precision,
                       const torch::Tensor& x);

/// Throws ConfigError unless the log-SNRs (b) found at a schedule's times are those wanted. One
/// that is learned may rise too steeply for float64, and two rules then agree on what both miss.
void require_levels(const torch::Tensor& wanted, const torch::Tensor& found);

}  // namespace scorenet::diffusion
