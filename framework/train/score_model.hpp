// A model as evaluators and samplers see it: schedule, parametrisation and what stands behind the denoiser.
//
// The one place where a config's names meet the layers that know nothing of configs.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/core/random.hpp"
#include "framework/data/fit.hpp"
#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/gaussian_mixture.hpp"
#include "framework/diffusion/learned_schedule.hpp"
#include "framework/diffusion/learned_weights.hpp"
#include "framework/diffusion/parametrisation.hpp"
#include "framework/diffusion/schedule.hpp"
#include "framework/train/flat_parameters.hpp"
#include "models/classifier.hpp"
#include "models/make_model.hpp"

namespace scorenet::train {

diffusion::ScheduleOptions schedule_options(const config::DiffusionConfig& config);
diffusion::Parametrisation parametrisation(const config::DiffusionConfig& config);
/// seed: of the initial weights.
models::ModelOptions model_options(const config::ModelConfig& config, uint64_t seed);

struct ScoreModel {
  std::string name;  // the snapshot's or config's path, for reports
  config::Config config;
  std::vector<int64_t> example_shape;
  data::DataTraits traits;  // of the training data, where they are known
  std::shared_ptr<const diffusion::Schedule> schedule;
  std::shared_ptr<models::ScoreNetwork> network;              // null for an analytic model
  std::shared_ptr<models::Classifier> classifier;             // the network, where it is one
  std::shared_ptr<const diffusion::GaussianMixture> mixture;  // null for a network
  diffusion::ScoreErrors errors;                              // of the mixture's score
  // Learned beside the network, null where the config asks for none.
  std::shared_ptr<const diffusion::LearnedSchedule> learned_schedule;  // the schedule itself
  std::shared_ptr<diffusion::UncertaintyWeight> uncertainty;           // of the loss
  torch::Device device = torch::kCPU;

  bool is_analytic() const { return mixture != nullptr; }
  /// The mixture with no error on top: its end terms are known.
  bool is_exact() const { return is_analytic() && !errors.any(); }
};

/// The raw network as the diffusion layer calls it. labels: (B) int64 or undefined; dropout: null in evaluation. Both
/// belong to one batch, so the callable serves that batch alone. Computes in train.precision; takes x of any dtype and
/// returns float32.
diffusion::Network network_for(const ScoreModel& model, const torch::Tensor& labels,
                               const models::BatchSlots* dropout);

/// All that is trained, in order of registration: the network's parameters under their own names, then "schedule.*" and
/// "uncertainty.*". Snapshots and checkpoints use these names.
NamedTensors named_parameters(const ScoreModel& model);

/// The denoiser of a batch with these labels (undefined: unconditional). Throws ConfigError for a classifier.
diffusion::Denoiser denoiser_for(const ScoreModel& model, const torch::Tensor& labels = {});

/// What a data set must be like for this model (data/fit.hpp); a mixture's dimensions are not in it.
data::ExpectedData expected_data(const ScoreModel& model);

/// A network with fresh weights, or the mixture of model.file. example_shape: of the data; for a mixture it may be
/// empty. Throws ConfigError or DataError.
ScoreModel build_model(const config::Config& config, c10::IntArrayRef example_shape,
                       torch::Device device);

}  // namespace scorenet::train
