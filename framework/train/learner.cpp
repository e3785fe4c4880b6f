#include "framework/train/learner.hpp"

#include "framework/core/error.hpp"
#include "framework/score/foreign_network.hpp"
#include "framework/score/model_input.hpp"
#include "framework/train/kept_transforms.hpp"
#include "framework/train/same_run.hpp"
#include "framework/train/train_precision.hpp"
#include "models/autocast.hpp"

namespace scorenet::train {

score::ScoreModel trainable_model(const config::Config& config, data::ImageDataset& dataset,
                                  const data::DatasetSummary& data, const RunFolder& folder,
                                  comm::Communicator& comm, torch::Device device) {
  if (config.model.type == "gaussian_mixture") {
    throw ConfigError(
        "model.type = gaussian_mixture: an analytic model has no weights to train. Give it to "
        "evaluate or sample with --config.");
  }
  score::ScoreModel model = score::build_model(config, dataset.example_shape(), device);
  if (model.trained().foreign && score::named_parameters(model).empty()) {
    throw ConfigError("model.file = " + config.model.file + ": none of its weights (" +
                      std::to_string(model.trained().foreign->frozen_parameters()) +
                      " frozen numbers) needs a gradient, so there is nothing to train. Export it "
                      "with requires_grad_(True), and not frozen.");
  }
  if (model.trained().foreign &&
      !score::can_be_trained(*model.trained().foreign, dataset.example_shape(), device)) {
    throw ConfigError("model.file = " + config.model.file +
                      ": its result has no gradient in any of its weights, so there is nothing to "
                      "train, such as where forward computes under torch.no_grad. Export a module "
                      "without that.");
  }
  model.compute_dtype = models::compute_dtype(settled_precision(config, device, comm));
  model.traits = data::traits_of(data);
  score::check_transforms(model, dataset);
  // Rank zero's fingerprint is all ranks'; a glance tells copies on their own machines apart.
  model = same_on_all_ranks(std::move(model), data.fingerprint + " " + dataset.glance(), comm);
  settle_transforms(model, dataset, data.fingerprint, folder, comm);
  return model;
}

Learner::Learner(score::ScoreModel model_in, int64_t levels, comm::Communicators& comms)
    : model(std::move(model_in)),
      plan(plan_gradients(model, model.example_shape, comms)),
      parameters(score::named_parameters(model), plan.layout,
                 [&comms](int64_t bytes) { return comms.bulk().allocate(bytes); }),
      objective(model, levels),
      update(model.config, parameters, plan, comms),
      spikes(model.config.train.spike_deviations),
      step(make_train_step(model, objective, update, spikes, comms)) {}

score::ScoreModel Learner::evaluated_model() const {
  score::ScoreModel evaluated = model;
  evaluated.compute_dtype = models::compute_dtype(model.config.train.precision);
  return evaluated;
}

}  // namespace scorenet::train
