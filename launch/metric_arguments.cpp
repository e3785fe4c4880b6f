#include "launch/metric_arguments.hpp"

#include "framework/evaluate/ode_choice.hpp"
#include "launch/hbar_schedule.hpp"
#include "launch/numbers.hpp"

namespace scorenet::launch {
namespace {

void add_bound_options(CLI::App* verb, evaluate::EvaluationOptions& o) {
  verb->add_flag(
      "--exact", o.exact,
      "no Monte Carlo, for low-dimensional models: quadrature, exact traces and tight tolerances, "
      "each checked by a second rule; an error where the rules differ or no such form exists");
  verb->add_option("--time-samples", o.time_samples,
                   "elbo, mcallester, immse: times drawn for each example")
      ->check(positive_number())
      ->capture_default_str();
  verb->add_option("--decoder,--eval.decoder", o.decoder, "elbo, mcallester: reconstruction term")
      ->check(CLI::IsMember(evaluate::decoder_choices()))
      ->capture_default_str();
}

void add_expansion_options(CLI::App* verb, evaluate::HbarChoice& hbar, evaluate::WkbChoice& wkb) {
  verb->add_option("--hbar", hbar.values, "hbar-*: values of the noise knob h, separated by commas")
      ->delimiter(',')
      ->check(non_negative_number())
      ->capture_default_str();
  verb->add_flag(
      "--best-hbar", hbar.best,
      "hbar-*: choose the best h by paired comparison over the examples with h = 0, or else the "
      "first h; report also the range of h that is as good within two standard errors");
  add_hbar_schedule_option(verb, hbar.schedule);
  verb->add_option(
          "--wkb-profile", wkb.profile,
          "wkb: divide nll1 among this many windows of time, equal in log-SNR, to see when noise "
          "helps. Without --exact each window costs as much as wkb itself")
      ->check(non_negative_number())
      ->capture_default_str();
  verb->add_option("--wkb-spacing", wkb.spacing,
                   "wkb-published: spacing of its central differences")
      ->check(positive_number())
      ->capture_default_str();
  verb->add_option("--paths", hbar.paths, "hbar-*: paths for each example and h")
      ->check(positive_number())
      ->capture_default_str();
}

void add_solver_options(CLI::App* verb, evaluate::SolverChoice& solver) {
  verb->add_option(
          "--steps", solver.steps,
          "ode, wkb (even), hbar-*: solver steps, uniform in log-SNR; 0: as a tolerance asks for "
          "ode and with --exact, else 100 (wkb-published: 40). With --exact, half as many steps "
          "check them")
      ->check(non_negative_number())
      ->capture_default_str();
  verb->add_option("--probes", solver.probes,
                   "ode: trace probes for each example; wkb: independent estimates")
      ->check(positive_number())
      ->capture_default_str();
  verb->add_flag("--exact-trace", solver.exact_trace,
                 "ode, hbar-*: the trace by a backward pass for each dimension, without probes");
  verb->add_option(
          "--solver", solver.name,
          "ode: adams (one evaluation a step), dormand-prince or rk4; auto: adams for "
          "networks, dormand-prince with --rtol, --exact and for analytic models, rk4 with "
          "--steps")
      ->check(CLI::IsMember(evaluate::solver_choices()))
      ->capture_default_str();
  verb->add_option("--tolerance", solver.tolerance,
                   "ode by adams: steps are doubled until an example's value moves by no more than "
                   "this, nats for each dimension [0.002]")
      ->check(positive_number());
  verb->add_option(
          "--rtol", solver.rtol,
          "dormand-prince, and all with --exact: relative tolerance of each example [as --atol, "
          "else 1e-5; with --exact 1e-9]")
      ->check(positive_number());
  verb->add_option(
          "--atol", solver.atol,
          "dormand-prince, and all with --exact: absolute tolerance [as --rtol, else 1e-5; with "
          "--exact 1e-9]")
      ->check(positive_number());
}

void add_dequantise_options(CLI::App* verb, evaluate::DequantiseChoice& dequantise) {
  verb->add_option("--dequantise", dequantise.how,
                   "ode, wkb, hbar-*, immse: how discrete data become continuous: uniform, "
                   "truncated-normal or variational (not immse); auto: uniform")
      ->check(CLI::IsMember(evaluate::dequantise_choices()))
      ->capture_default_str();
  verb->add_option("--dequantise-samples", dequantise.samples,
                   "draws for each example, joined by importance weights")
      ->check(positive_number())
      ->capture_default_str();
}

}  // namespace

void add_metric_options(CLI::App* verb, evaluate::EvaluationOptions& options) {
  add_bound_options(verb, options);
  add_expansion_options(verb, options.hbar, options.wkb);
  add_solver_options(verb, options.solver);
  add_dequantise_options(verb, options.dequantise);
}

}  // namespace scorenet::launch
