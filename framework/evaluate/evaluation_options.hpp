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

/// Of ode; steps, rtol and atol also of wkb and hbar-*.
struct SolverChoice {
  std::string name = "auto";  // of ode: see ode_choice.hpp
  int64_t steps = 0;          // 0: ode, and all with `exact`, adaptive; others as many as they say
  double tolerance = 0;       // of adams, nats a dimension; 0: kAdamsTolerance
  double rtol = 0;  // of adaptive solvers; 0: as the other, and of neither 1e-5, with exact 1e-9
  double atol = 0;
  int64_t probes = 1;        // ode: trace probes an example; wkb: independent estimates
  bool exact_trace = false;  // ode, hbar-*: D backward passes instead of probes
};

/// Of hbar-*.
struct HbarChoice {
  std::vector<double> values = {1.0};  // of the noise knob h
  std::string schedule;                // "t:value,...": h(t) = h shape(t) for all that has an h
  bool best = false;                   // also choose among the values, by paired comparison
  int64_t paths = 8;                   // an example and h
};

struct WkbChoice {
  int64_t profile = 0;    // windows of time among which nll1 is shared
  double spacing = 0.01;  // wkb-published: of its central differences, data units
};

/// How uint8 data become continuous.
struct DequantiseChoice {
  std::string how = "auto";  // uniform (auto), truncated-normal or variational
  int64_t samples = 1;       // draws an example, joined by importance weights
};

/// Of metrics that compare samples.
struct SampleComparison {
  diffusion::SamplerOptions sampler = {};
  GuidanceOptions guidance = {};  // told: what the sample that each is compared with is told
  std::string final;              // of the sampler; "": as the examples' shape says
  bool norms_of_batch = false;    // pc: as score_sde (generate_in_step.hpp)
  std::vector<int64_t> seeds;     // of the samples; none: n, from the evaluation's seed on
  std::string given;              // a file in place of drawing: see given_samples.hpp
  std::string features;           // of fd, kid, pr: see feature_extractor.hpp
  std::string reference;          // of fd, in place of the data: see reference_file.hpp
  std::string save_reference;     // where the moments of the data's features are written
};

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
  SolverChoice solver = {};
  HbarChoice hbar = {};
  WkbChoice wkb = {};
  DequantiseChoice dequantise = {};
  SampleComparison samples = {};
};

/// The values of `decoder` and of `dequantise.how`.
std::vector<std::string> decoder_choices();
std::vector<std::string> dequantise_choices();

/// The shape of h(t) in the options; constant if they give none. Throws ConfigError.
diffusion::HbarShape hbar_shape(const EvaluationOptions& options);

/// The options of the trainer's evaluations, from the table [eval].
EvaluationOptions training_evaluation(const config::EvalConfig& config);

}  // namespace scorenet::evaluate
