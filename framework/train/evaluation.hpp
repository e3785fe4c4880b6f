// Likelihoods of a data set under a model: one function for the trainer, the evaluate verb and tests.
//
// Each metric computes -log p of a batch of examples; this file deals batches to the ranks, brings the examples together
// and averages once, so the numbers are the same for any rank count. No collective runs while examples are computed.
#pragma once

#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "framework/comm/communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/diffusion/likelihood/result.hpp"
#include "framework/train/score_model.hpp"

namespace scorenet::train {

struct EvaluationOptions {
  std::vector<std::string> metrics = {"elbo"};  // see metric_names()
  int64_t n = 0;                                // examples from the start of the split; 0: all
  uint64_t seed = 0;
  int64_t batch = 128;
  int64_t time_samples = 4;      // times drawn for each example
  std::string decoder = "auto";  // auto: 256 levels for uint8 data, flat for continuous
  bool exact = false;            // quadrature instead of draws, for low-dimensional models
  double time_budget_s =
      std::numeric_limits<double>::infinity();  // then what is done by then is reported
};

/// One metric over the examples, in the order of the data set.
struct MetricReport {
  std::string name;
  diffusion::ResultKind kind = diffusion::ResultKind::bound;
  torch::Tensor nats;                                        // (n) float64
  std::vector<std::pair<std::string, torch::Tensor>> terms;  // each (n) float64
  double nfe = 0;      // denoiser evaluations an example, mean
  double seconds = 0;  // wall clock
  double nats_mean() const;
  /// Standard error of nats_mean over the examples; 0 for one example.
  double nats_stderr() const;
};

struct EvaluationReport {
  std::string network, data, split;
  int64_t dims = 0;
  uint64_t seed = 0;
  int world_size = 1;
  bool discrete = false;  // bits per dimension have a meaning
  std::vector<MetricReport> metrics;
};

/// Collective over `comm`. Throws ConfigError for an unknown metric (listing the known) or one that cannot be computed
/// as asked, ShapeError if data and model do not fit.
EvaluationReport evaluate(const ScoreModel& model, data::ImageDataset& dataset,
                          const EvaluationOptions& options, comm::Communicator& comm);

/// What the [eval] table asks of the trainer.
EvaluationOptions training_evaluation(const config::EvalConfig& config);

/// The contract's report.
nlohmann::ordered_json to_json(const EvaluationReport& report);
/// "elbo 3.512 +- 0.021 bits/dim (bound; prior ..., diffusion ..., reconstruction ...)": a line a person reads.
std::string summary(const EvaluationReport& report);
/// The numbers that metrics.csv keeps: name, value.
std::vector<std::pair<std::string, double>> headline(const EvaluationReport& report);

}  // namespace scorenet::train
