// The evaluations of a run: likelihoods of a split that is not trained on, and grids of samples.
#pragma once

#include <string>

#include "framework/comm/communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/train/learner.hpp"
#include "framework/train/metrics_log.hpp"
#include "framework/train/run_folder.hpp"

namespace scorenet::train {

class HeldOut {
 public:
  /// Opens eval.split and checks it as the first evaluation will, so that an error is found before
  /// the first step. All arguments must outlive this. Throws DataError, ShapeError, ConfigError.
  HeldOut(const config::Config& config, const RunFolder& folder, Learner& learner,
          comm::Communicator& comm);

  /// What is wrong with a held-out split that shares samples with the one that is trained on, for
  /// the start of the log; "": it shares none, or is that split by name.
  std::string shared_samples(const data::ImageDataset& training) const;

  /// Whether all files and numbers of this step's evaluation are there. Rank zero's view.
  bool is_whole(int64_t step, const MetricsLog& log) const;

  /// Evaluates the weights as they are (grids alone) and their first average, on rank zero or on
  /// all ranks (eval.ranks). log: rank zero's, elsewhere null. False if it was given up because a
  /// stop was asked for, on any rank; the files of this step are then missing. Collective. Throws
  /// NotFiniteError and as evaluate::evaluate.
  bool evaluate(int64_t step, MetricsLog* log);

 private:
  struct Place;
  bool draws_grids() const;
  void evaluate_all(const Place& place, const torch::Tensor& average);
  void draw_grid(const Place& place, const std::string& weights);
  void evaluate_likelihood(const Place& place);
  void evaluate_classifier(const Place& place);

  const config::Config& config_;
  const RunFolder& folder_;
  Learner& learner_;
  comm::Communicator& comm_;
  data::ImageDataset dataset_;
};

}  // namespace scorenet::train
