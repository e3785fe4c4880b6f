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

/// What is the same for all batches. REQUIRES that model and options outlive the metric.
struct MetricRequest {
  const score::ScoreModel& model;
  bool discrete;  // 8-bit data
  diffusion::Decoder decoder;
  const EvaluationOptions& options;
  std::shared_ptr<SharedPaths> paths = std::make_shared<SharedPaths>();
};

/// One batch, already in the model's range, and where each example stands in the data set.
struct MetricBatch {
  const diffusion::Denoiser& denoiser;
  torch::Tensor x;  // float64 for an analytic model, else float32
  const std::vector<int64_t>& slots;
};

/// One result, or one for each h.
using ComputeMetric = std::function<std::vector<diffusion::LikelihoodResult>(const MetricBatch&)>;

struct Metric {
  std::vector<std::string> terms;  // the names of each result's terms, in order
  ComputeMetric compute;
  std::vector<double> hbars = {};  // where the metric runs over h
  /// Terms that are results in their own right: reports give their mean, median and quantiles, and
  /// files an array each.
  std::vector<std::string> separate_terms = {};
  /// Terms that share another among windows of time, from the clean end. Reports keep them apart
  /// from the rest.
  diffusion::WkbWindows windows = {};
  /// Asks for the network in float32 even where it was trained in bfloat16: a solver of paths takes
  /// rounding for roughness, and a derivative along a path divides by a small step.
  bool float32 = false;

  int64_t results() const { return hbars.empty() ? 1 : static_cast<int64_t>(hbars.size()); }
};

}  // namespace scorenet::evaluate
