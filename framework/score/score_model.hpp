// A model as evaluators and samplers see it: a schedule, a parametrisation, and the network or
// mixture from which the denoiser comes.
//
// Here a config's names become objects of the layers that know nothing of configs.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/core/random.hpp"
#include "framework/data/fit.hpp"
#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/gaussian_mixture.hpp"
#include "framework/diffusion/parametrisation.hpp"
#include "framework/diffusion/schedule.hpp"
#include "framework/optim/flat_parameters.hpp"
#include "framework/transform/condition_chain.hpp"
#include "framework/transform/transform_chain.hpp"
#include "models/conditions.hpp"
#include "models/make_model.hpp"

// Named, not included: their headers cost seconds in each of the forty files that hold a model.
namespace scorenet::diffusion {
class LearnedSchedule;
class UncertaintyWeight;
}  // namespace scorenet::diffusion
namespace scorenet::models {
class Classifier;
class ScoreNetwork;
struct BatchSlots;
}  // namespace scorenet::models

namespace scorenet::score {

diffusion::Parametrisation parametrisation(const config::DiffusionConfig& config);
/// seed: of the initial weights. Throws ConfigError where the shape of a condition is not known.
models::ModelOptions model_options(const config::Config& config, uint64_t seed);

class RecordedNetwork;
class ForeignNetwork;

/// A network, and what is learned beside it.
struct TrainedNetwork {
  std::shared_ptr<models::ScoreNetwork> network;
  /// The network itself, where it is a classifier; else null.
  std::shared_ptr<models::Classifier> classifier = {};
  /// The model's schedule, where it is a learned one; else null.
  std::shared_ptr<const diffusion::LearnedSchedule> learned_schedule = {};
  /// The network itself, where it comes from elsewhere (foreign_network.hpp); else null.
  std::shared_ptr<ForeignNetwork> foreign = {};
  /// Of the loss; null where the config asks for none.
  std::shared_ptr<diffusion::UncertaintyWeight> uncertainty = {};
  /// Its evaluations, where the device records them (run.graph); else null.
  std::shared_ptr<RecordedNetwork> recorded = {};
};

/// A mixture of Gaussians, whose score is known, and errors that are added to that score.
struct AnalyticMixture {
  std::shared_ptr<const diffusion::GaussianMixture> mixture;
  diffusion::ScoreErrors errors = {};
};

struct ScoreModel {
  std::string name;  // the snapshot's or config's path, for reports
  config::Config config;
  std::vector<int64_t> example_shape;
  data::DataTraits traits;               // of the training data, where they are known
  transform::TransformChain transforms;  // from the file's values to x0; model_input.hpp
  /// From the file's values to what the network is told, by name; told_conditions.hpp.
  std::map<std::string, transform::ConditionChain> conditions;
  std::shared_ptr<const diffusion::Schedule> schedule;
  std::variant<TrainedNetwork, AnalyticMixture> source;
  /// The type that the network's layers compute in; weights are float32. At first that of the
  /// config (models::compute_dtype); the user of a model may change it.
  torch::Dtype compute_dtype = torch::kFloat32;
  torch::Device device = torch::kCPU;

  bool is_analytic() const { return std::holds_alternative<AnalyticMixture>(source); }
  /// The mixture with no error on top: its end terms are known.
  bool is_exact() const { return is_analytic() && !analytic().errors.any(); }
  bool is_classifier() const { return !is_analytic() && trained().classifier; }

  /// REQUIRES !is_analytic().
  const TrainedNetwork& trained() const { return std::get<TrainedNetwork>(source); }
  /// REQUIRES is_analytic().
  const AnalyticMixture& analytic() const { return std::get<AnalyticMixture>(source); }
};

/// The raw network as the diffusion layer calls it. given: what it is told; dropout: null in
/// evaluation. Both belong to one batch, so the callable serves that batch alone. Computes in
/// model.compute_dtype; takes x of any dtype and returns float32.
diffusion::Network network_for(const ScoreModel& model, const models::Conditions& given,
                               const models::BatchSlots* dropout);

/// All that is trained, in order of registration: the network's parameters under their own names,
/// then "schedule.*" and "uncertainty.*". Snapshots and checkpoints use these names.
optim::NamedTensors named_parameters(const ScoreModel& model);

/// The denoiser of a batch that is told this (undefined parts: nothing). It may be differentiated
/// in x alone, not in the weights. Throws ConfigError for a classifier.
diffusion::Denoiser denoiser_for(const ScoreModel& model, const models::Conditions& given = {});

/// What this model expects of a data set (data/fit.hpp), but for a mixture's dimensions.
data::ExpectedData expected_data(const ScoreModel& model);

/// A network with fresh weights, that of a TorchScript file, or the mixture of model.file.
/// example_shape: of the data; for a mixture it may be empty. archive: of a TorchScript network, in
/// place of model.file. Throws ConfigError, for a condition of unknown shape too, DataError, or as
/// make_foreign_network.
ScoreModel build_model(const config::Config& config, c10::IntArrayRef example_shape,
                       torch::Device device, const std::string& archive = {});

}  // namespace scorenet::score
