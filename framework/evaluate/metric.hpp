// A likelihood metric: from a batch of examples to -log p of each.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/likelihood/result.hpp"
#include "framework/diffusion/likelihood/wkb.hpp"
#include "framework/diffusion/variational_bound.hpp"
#include "framework/evaluate/evaluation_options.hpp"
#include "framework/evaluate/shared_paths.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::evaluate {

/// What is the same for all batches. `model` and `options` must outlive the metric.
struct MetricRequest {
  const score::ScoreModel& model;
  int64_t levels;  // of discrete data; 0: continuous
  diffusion::Decoder decoder;
  const EvaluationOptions& options;
  std::shared_ptr<SharedPaths> paths = std::make_shared<SharedPaths>();
};

/// One batch, already in the model's range, with each example's place in the data set.
struct MetricBatch {
  const diffusion::Denoiser& denoiser;
  torch::Tensor x;  // float64 for an analytic model, else float32
  const std::vector<int64_t>& slots;
  torch::Tensor log_det = {};  // (B) float64: log |dy/dx| of data.transforms, where there are some
  bool is_told = false;  // the denoiser tells each example something by its place in the batch
};

/// One result, or one for each h.
using ComputeMetric = std::function<std::vector<diffusion::LikelihoodResult>(const MetricBatch&)>;

struct Metric {
  std::vector<std::string> terms;  // the names of each result's terms, in order
  ComputeMetric compute;
  std::vector<double> hbars = {};  // where the metric runs over h
  /// Terms that are results of their own. A report gives their mean, median and quantiles;
  /// --per-example writes an array for each.
  std::vector<std::string> separate_terms = {};
  /// Windows of time, and the names of the terms that are their shares of nll1. Reports list these
  /// apart from the other terms.
  diffusion::WkbWindows windows = {};
  /// True if the network must compute in float32, also if it was trained in bfloat16 or float16. An
  /// adaptive solver would take rounding for a rough function, and a derivative along a path
  /// divides by a small step.
  bool float32 = false;
  /// How an ODE is solved, for the report.
  std::string solver = {};

  int64_t results() const { return hbars.empty() ? 1 : static_cast<int64_t>(hbars.size()); }
};

}  // namespace scorenet::evaluate
