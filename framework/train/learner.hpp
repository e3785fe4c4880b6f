// All that takes part in a training step: the model, its weights in flat buffers, the objective,
// the update and the step.
#pragma once

#include <memory>

#include "framework/comm/make_communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/optim/flat_parameters.hpp"
#include "framework/score/score_model.hpp"
#include "framework/train/gradient_plan.hpp"
#include "framework/train/objective.hpp"
#include "framework/train/run_folder.hpp"
#include "framework/train/spike_law.hpp"
#include "framework/train/train_step.hpp"
#include "framework/train/update.hpp"

namespace scorenet::train {

/// A network with fresh weights for data like `data`, after program, config, data and weights were
/// compared over the ranks, with the statistics of its transforms (kept_transforms.hpp).
/// Collective. Throws CommError, and ConfigError for an analytic model, which has nothing to train.
score::ScoreModel trainable_model(const config::Config& config, data::ImageDataset& dataset,
                                  const data::DatasetSummary& data, const RunFolder& folder,
                                  comm::Communicator& comm, torch::Device device);

/// Each part refers to those above it.
struct Learner {
  /// model: a network, the same on all ranks. levels: of its data; 0: continuous. `comms` must
  /// outlive this. Collective. Throws ConfigError for options that do not fit.
  Learner(score::ScoreModel model, int64_t levels, comm::Communicators& comms);

  /// The model as the evaluate verb sees it. train.precision = auto only applies to training, so
  /// that an evaluation gives the same numbers on every machine.
  score::ScoreModel evaluated_model() const;

  score::ScoreModel model;
  GradientPlan plan;
  optim::FlatParameters parameters;
  Objective objective;
  Update update;
  SpikeLaw spikes;
  std::unique_ptr<TrainStep> step;
};

}  // namespace scorenet::train
