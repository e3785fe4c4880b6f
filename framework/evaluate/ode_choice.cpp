#include "framework/evaluate/ode_choice.hpp"

#include <algorithm>
#include <cstdio>

#include "framework/core/error.hpp"
#include "framework/diffusion/likelihood/exactness.hpp"

namespace scorenet::evaluate {
namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

std::string taken(const EvaluationOptions& o, bool analytic) {
  if (o.solver.name != "auto") return o.solver.name;
  if (o.solver.steps > 0) return "rk4";
  if (o.exact || analytic || o.solver.rtol > 0 || o.solver.atol > 0) return "dormand-prince";
  return "adams";
}

void check(const std::string& solver, const EvaluationOptions& o) {
  const auto known = solver_choices();
  if (std::find(known.begin(), known.end(), solver) == known.end())
    throw ConfigError("--solver " + solver +
                      ": not known. Choose auto, adams, dormand-prince or rk4.");
  const bool adams = solver == "adams", adaptive = solver == "dormand-prince";
  if (solver == "rk4" && o.solver.steps == 0)
    throw ConfigError("--solver rk4: has no step control. Add --steps N.");
  if (adaptive && o.solver.steps > 0)
    throw ConfigError(
        "--solver dormand-prince: chooses its steps by --rtol and --atol. Leave out --steps.");
  if (adams && o.exact)
    throw ConfigError("--exact: of dormand-prince and rk4 alone. Leave out --solver adams.");
  // Beside --solver auto they may be of another metric.
  if (o.solver.name != "auto" && !adaptive && (o.solver.rtol > 0 || o.solver.atol > 0))
    throw ConfigError(
        "--rtol and --atol: of dormand-prince alone. Leave them out, or choose --solver "
        "dormand-prince.");
  if (o.solver.tolerance > 0 && (!adams || o.solver.steps > 0))
    throw ConfigError("--tolerance: of --solver adams without --steps. Leave it out.");
}

}  // namespace

std::vector<std::string> solver_choices() { return {"auto", "adams", "dormand-prince", "rk4"}; }

diffusion::SolverPrecision solver_precision(const EvaluationOptions& o) {
  const double usual = o.exact ? diffusion::SolverPrecision{}.rtol : diffusion::OdeOptions{}.rtol;
  const diffusion::OdeOptions chosen =
      diffusion::with_tolerances(o.solver.rtol, o.solver.atol, usual);
  return {o.solver.steps, chosen.rtol, chosen.atol};
}

OdeChoice ode_choice(const EvaluationOptions& o, bool analytic) {
  const std::string solver = taken(o, analytic);
  check(solver, o);
  diffusion::OdeLikelihoodOptions options;
  options.exact_trace = o.solver.exact_trace;
  options.probes = o.solver.probes;
  options.steps = o.solver.steps;
  const diffusion::SolverPrecision precision = solver_precision(o);
  options.rtol = precision.rtol;
  options.atol = precision.atol;
  options.seed = o.seed;
  options.adams = solver == "adams";
  if (o.solver.tolerance > 0) options.tolerance = o.solver.tolerance;

  std::string text = solver + ", ";
  if (o.solver.steps > 0)
    text += std::to_string(o.solver.steps) + " steps";
  else if (options.adams)
    text += number(options.tolerance) + " nats a dimension";
  else
    text += "rtol " + number(options.rtol) + ", atol " + number(options.atol);
  return {options, text};
}

}  // namespace scorenet::evaluate
