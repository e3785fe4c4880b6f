// The likelihood metrics by name. The next evaluator is one file in diffusion/likelihood and one entry here.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "framework/diffusion/likelihood/result.hpp"
#include "framework/diffusion/variational_bound.hpp"
#include "framework/train/evaluation.hpp"

namespace scorenet::train {

/// What a metric is given: one batch, already in the model's range, and where each example stands in the data set.
struct MetricInput {
  const ScoreModel& model;
  const diffusion::Denoiser& denoiser;
  torch::Tensor x0;  // float64 for an analytic model, else float32
  const std::vector<int64_t>& slots;
  diffusion::Decoder decoder;
  bool discrete;
  const EvaluationOptions& options;
};

struct Metric {
  std::vector<std::string> terms;  // the names of result.terms, in order
  std::function<diffusion::LikelihoodResult(const MetricInput&)> compute;
};

/// "elbo", "elbo-1000", ... Throws ConfigError that lists the names.
Metric find_metric(const std::string& name);

}  // namespace scorenet::train
