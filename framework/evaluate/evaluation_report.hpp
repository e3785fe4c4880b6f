// The results of an evaluation: tensors of -log p, and their forms for people and programs.
//
// A metric has one result, or one for each value of the noise knob h. Examples without a finite
// value (a solve that failed, a path that diverged) stay in the tensors as NaN, and every form
// gives their number. Means and errors are those of the other examples.
#pragma once

#include <torch/types.h>

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/diffusion/likelihood/hbar_elbo.hpp"
#include "framework/diffusion/likelihood/result.hpp"
#include "framework/diffusion/likelihood/wkb.hpp"

namespace scorenet::evaluate {

/// -log p of the examples, in the file's own units and the order of the data set.
struct MetricResult {
  std::optional<double> hbar;  // where the metric runs over h
  diffusion::ResultKind kind = diffusion::ResultKind::bound;
  torch::Tensor nats;                                        // (n) float64
  std::vector<std::pair<std::string, torch::Tensor>> terms;  // each (n) float64
  torch::Tensor shares = {};  // (n, windows) of a metric with a profile; else undefined
  double nfe = 0;             // denoiser evaluations an example, mean
  /// (n) nats, by how much the solver's last refinement moved each example; undefined: not measured
  torch::Tensor solver_error = {};

  /// Examples whose nats or any term is not finite.
  int64_t failed() const;
  /// Mean of the examples that did not fail; NaN if none.
  double nats_mean() const;
  /// nats_mean() of what the network sees, without the Jacobian of data.transforms.
  double nats_mean_network() const;
  /// Its standard error over the examples; NaN, in JSON null, of fewer than two.
  double nats_stderr() const;
  /// The values of one term (or of nats) that belong to examples that did not fail.
  torch::Tensor finite(const torch::Tensor& values) const;
};

struct MetricReport {
  std::string name;
  std::vector<MetricResult> results;        // one, or one for each h; never empty
  std::vector<std::string> separate_terms;  // terms that are results in their own right: see Metric
  diffusion::WkbWindows windows;            // of the results' shares
  std::optional<diffusion::BestHbar> best;  // where it was asked for
  double best_reference = 0;                // the h that its gain is measured against
  std::string solver;                       // how an ODE was solved; empty: there is none
  double seconds = 0;                       // wall clock

  /// The weakest kind of its results: over h one may be exact and another a bound.
  diffusion::ResultKind kind() const;
};

/// A comparison of samples with data.
struct SampleMetricReport {
  std::string name;
  int64_t n = 0;                                       // examples of the data
  int64_t samples = 0;                                 // that they are compared with
  std::vector<std::pair<std::string, double>> values;  // in the data's units
  std::string features;        // the extractor's name; empty: the points themselves
  std::string reference = {};  // the file whose moments stand for the data; empty: none does
  std::string from = {};       // the samples' folder or file; empty: they were drawn
  std::string sampler;
  std::string final;   // what was compared: "denoised" or "state", as `sample --final`
  int64_t levels = 0;  // values that samples were rounded to; 0: none, as they are
  double nfe = 0;      // denoiser evaluations a sample, mean
  double seconds = 0;
};

struct EvaluationReport {
  std::string network, data, split;
  int64_t dims = 0;
  uint64_t seed = 0;
  int world_size = 1;
  int64_t n = 0;              // examples asked for
  bool discrete = false;      // bits per dimension have a meaning
  bool transformed = false;   // nats are in other units than the network's
  std::string hbar_schedule;  // of h(t); empty: constant
  std::vector<MetricReport> metrics;
  std::vector<SampleMetricReport> sample_metrics;
};

/// The report as launch/README.md describes it. Numbers at the top of a metric over h are those of
/// its first h, its kind is the weakest of all h.
nlohmann::ordered_json to_json(const EvaluationReport& report);

/// "elbo 3.512 +- 0.021 bits/dim (bound; prior ..., diffusion ..., reconstruction ...)": a line a
/// person reads for each result.
std::string summary(const EvaluationReport& report);

/// Throws NotFiniteError naming the metric if one has no finite value at all: no example, at no h.
void require_finite(const EvaluationReport& report);

/// The numbers that metrics.csv keeps: name, value.
std::vector<std::pair<std::string, double>> headline(const EvaluationReport& report);

/// HDF5, float64, in the order of the data set: /NAME (n); with separate terms /NAME_TERM (n) each
/// instead; over h /NAME (h, n) and its values /NAME_hbars (h); a profile's shares /NAME_profile
/// (n, windows). Comparisons of samples have no such values. Throws DataError.
void write_per_example(const std::string& path, const EvaluationReport& report);

}  // namespace scorenet::evaluate
