// What is trained and what trains it: the model, its weights in flat buffers, the objective, the
// update and the step.
#pragma once

#include "framework/comm/make_communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/optim/flat_parameters.hpp"
#include "framework/score/score_model.hpp"
#include "framework/train/gradient_plan.hpp"
#include "framework/train/objective.hpp"
#include "framework/train/train_step.hpp"
#include "framework/train/update.hpp"

namespace scorenet::train {

/// Each part refers to those above it.
struct Learner {
  /// Builds the network for data like `data`, and compares program, config, data and weights over
  /// the ranks. `comms` must outlive this. Collective. Throws ConfigError (an analytic model has
  /// nothing to train), CommError.
  Learner(const config::Config& config, const data::ImageDataset& dataset,
          const data::DatasetSummary& data, comm::Communicators& comms, torch::Device device);

  /// The model as the evaluate verb would see it: train.precision = auto is a matter of training,
  /// and numbers are the same on every machine.
  score::ScoreModel evaluated_model() const;

  score::ScoreModel model;
  GradientPlan plan;
  optim::FlatParameters parameters;
  Objective objective;
  Update update;
  TrainStep step;
};

}  // namespace scorenet::train
