// Which solver the metric `ode` takes, and with which precision.
#pragma once

#include <string>
#include <vector>

#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/evaluate/evaluation_options.hpp"

namespace scorenet::evaluate {

/// The values of `solver`: auto, adams, dormand-prince, rk4.
std::vector<std::string> solver_choices();

/// Steps and tolerances as asked for; a tolerance that is not follows the other, as
/// diffusion::with_tolerances says, and both are finer where `exact` is.
diffusion::SolverPrecision solver_precision(const EvaluationOptions& options);

struct OdeChoice {
  diffusion::OdeLikelihoodOptions options;
  std::string text;  // "adams, 0.002 nats a dimension", for reports
};

/// auto is rk4 where `steps` are given, dormand-prince where its tolerances are, with `exact` and
/// for analytic models, which are smooth and cheap; else adams. Throws ConfigError where an option
/// does not belong to the solver that was asked for.
OdeChoice ode_choice(const EvaluationOptions& options, bool analytic);

}  // namespace scorenet::evaluate
