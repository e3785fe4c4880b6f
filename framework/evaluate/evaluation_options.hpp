// The options of an evaluation.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/diffusion/hbar_shape.hpp"
#include "framework/diffusion/sampler/sampler.hpp"
#include "framework/evaluate/generate.hpp"

namespace scorenet::evaluate {

struct EvaluationOptions {
  std::vector<std::string> metrics = {"elbo"};  // see metric_names()
  int64_t n = 0;                                // examples from the start of the split; 0: all
  uint64_t seed = 0;
  // The defaults are those of the table [eval].
  int64_t batch = config::EvalConfig().micro_batch;
  int64_t time_samples = config::EvalConfig().time_samples;  // times drawn for each example
  std::string decoder = config::EvalConfig().decoder;  // auto: 256 levels for uint8, else flat
  bool exact = false;  // without Monte Carlo, for low-dimensional models
  /// After this time the examples done so far are reported.
  double time_budget_s = std::numeric_limits<double>::infinity();

  std::vector<double> hbars = {1.0};  // hbar-*: values of the noise knob h
  std::string hbar_schedule;          // "t:value,...": h(t) = h shape(t) for all that has an h
  bool best_hbar = false;             // hbar-*: also choose among them, by paired comparison
  int64_t wkb_profile = 0;            // wkb: windows of time among which nll1 is shared
  double wkb_spacing = 0.01;          // wkb-published: of its central differences, data units
  int64_t paths = 8;                  // hbar-*: paths an example and h
  int64_t steps = 0;         // solver steps; 0: ode and all with exact adaptive, others their own
  int64_t probes = 1;        // ode: trace probes an example; wkb: independent estimates
  bool exact_trace = false;  // ode, hbar-*: D backward passes instead of probes
  double rtol = 0;  // of adaptive solvers; 0: as the other, and of neither 1e-5, with exact 1e-9
  double atol = 0;
  std::string solver = "auto";      // of ode: see ode_choice.hpp
  double tolerance = 0;             // of adams, nats a dimension; 0: kAdamsTolerance
  std::string dequantise = "auto";  // of uint8 data: uniform (auto), truncated-normal, variational
  int64_t dequantise_samples = 1;   // draws an example, joined by importance weights
  // Of metrics that compare samples.
  diffusion::SamplerOptions sampler = {};
  GuidanceOptions guidance = {};  // told: what the sample that each is compared with is told
  std::string final;              // of the sampler; "": as the examples' shape says
  bool norms_of_batch = false;    // pc: as score_sde (generate_in_step.hpp)
  std::vector<int64_t> seeds;     // of the samples; none: n, from `seed` on
  std::string samples;            // in place of drawing: see given_samples.hpp
  std::string features;           // of fd, kid, pr: see feature_extractor.hpp
  std::string reference;          // of fd, in place of the data: see reference_file.hpp
  std::string save_reference;     // where the moments of the data's features are written
};

/// The values of `decoder` and of `dequantise`.
std::vector<std::string> decoder_choices();
std::vector<std::string> dequantise_choices();

/// The shape of h(t) in the options; constant if they give none. Throws ConfigError.
diffusion::HbarShape hbar_shape(const EvaluationOptions& options);

/// The options of the trainer's evaluations, from the table [eval].
EvaluationOptions training_evaluation(const config::EvalConfig& config);

}  // namespace scorenet::evaluate
