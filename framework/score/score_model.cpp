#include "framework/score/score_model.hpp"

#include <ATen/Context.h>

#include "framework/core/error.hpp"
#include "framework/core/stop_signal.hpp"
#include "framework/diffusion/discrete_steps.hpp"
#include "framework/diffusion/learned_schedule.hpp"
#include "framework/diffusion/learned_weights.hpp"
#include "framework/diffusion/likelihood/flow_jet.hpp"
#include "framework/diffusion/preconditioning.hpp"
#include "framework/score/foreign_network.hpp"
#include "framework/score/mixture_file.hpp"
#include "framework/score/recorded_network.hpp"
#include "framework/score/told_conditions.hpp"
#include "models/autocast.hpp"
#include "models/classifier.hpp"

namespace scorenet::score {

diffusion::Parametrisation parametrisation(const config::DiffusionConfig& c) {
  return {diffusion::prediction_from_name(c.prediction), c.sigma_data, c.loss == "hybrid"};
}

models::ModelOptions model_options(const config::Config& config, uint64_t seed) {
  const config::ModelConfig& c = config.model;
  models::ModelOptions o{c.type, c.unet, c.mlp, c.dit, seed};
  o.unet.dropout = o.mlp.dropout = o.dit.dropout = c.dropout;
  o.unet.num_classes = o.mlp.num_classes = o.dit.num_classes = c.num_classes;
  o.unet.conditions = o.mlp.conditions = o.dit.conditions = condition_sizes(config);
  o.unet.padding = o.dit.padding = c.padding;
  o.unet.recompute = o.dit.recompute = c.recompute;
  o.dit.kernels = c.unet.kernels;
  if (c.numbered.steps > 0) o.unet.log_snr_of_step = diffusion::log_snr_of_steps(c.numbered);
  if (c.fourier_features) o.unet.fourier_features = {7, 8};  // VDM's, single grey levels
  return o;
}

namespace {

// What a caller of a network may differentiate.
enum class Derivatives { all, in_x_alone };

// Whether a recording may serve this call's derivatives.
bool asks_for_x_alone(const NetworkCall& call, Derivatives derivatives) {
  const bool others = call.log_snr.requires_grad() || call.given.numbers.requires_grad() ||
                      call.given.fields.requires_grad();
  return derivatives == Derivatives::in_x_alone && call.x.requires_grad() && !others &&
         !diffusion::PlainAttention::is_asked_for();  // a second derivative is about to come
}

diffusion::Network network_with(const ScoreModel& model, const models::Conditions& given,
                                const models::BatchSlots* dropout, Derivatives derivatives) {
  const auto evaluate = [network = model.trained().network, dropout, compute = model.compute_dtype,
                         type = model.device.type()](const NetworkCall& call) {
    const models::AutocastScope scope(compute, type);
    return network->forward({call.x, call.log_snr, call.given, dropout}).to(torch::kFloat32);
  };
  const models::Conditions there =
      given.mapped([&model](const torch::Tensor& t) { return t.to(model.device); });
  return [&model, there, dropout, evaluate, compute = model.compute_dtype, derivatives](
             const torch::Tensor& x, const torch::Tensor& log_snr) {
    const NetworkCall call{x.to(model.device, torch::kFloat32), log_snr.to(model.device), there};
    RecordedNetwork* const recorded = model.trained().recorded.get();
    if (!recorded || dropout) return evaluate(call);
    if (!torch::GradMode::is_enabled()) return (*recorded)(evaluate, call, compute);
    if (asks_for_x_alone(call, derivatives))
      return recorded->with_gradient()(evaluate, call, compute);
    return evaluate(call);
  };
}

}  // namespace

diffusion::Network network_for(const ScoreModel& model, const models::Conditions& given,
                               const models::BatchSlots* dropout) {
  return network_with(model, given, dropout, Derivatives::all);
}

optim::NamedTensors named_parameters(const ScoreModel& model) {
  optim::NamedTensors all;
  const auto add = [&all](const std::string& prefix, const torch::nn::Module& module) {
    for (const auto& [name, parameter] : optim::named_parameters(module))
      all.emplace_back(prefix + name, parameter);
  };
  if (model.is_analytic()) return all;
  const TrainedNetwork& trained = model.trained();
  add("", *trained.network);
  if (trained.learned_schedule) add("schedule.", *trained.learned_schedule->network());
  if (trained.uncertainty) add("uncertainty.", *trained.uncertainty);
  return all;
}

namespace {

// Evaluators and samplers call a denoiser thousands of times for a batch: here they hear that they
// are to stop.
diffusion::Denoiser stoppable(diffusion::Denoiser denoiser) {
  return [denoiser = std::move(denoiser)](const torch::Tensor& x, const diffusion::NoiseLevel& at) {
    throw_if_stop_asked();
    return denoiser(x, at);
  };
}

}  // namespace

diffusion::Denoiser denoiser_for(const ScoreModel& model, const models::Conditions& given) {
  if (model.is_classifier()) {
    throw ConfigError(
        model.name +
        ": model.type = classifier is not a denoiser. Give it to sample with --classifier, beside "
        "a --network.");
  }
  if (model.is_analytic())
    return stoppable(
        diffusion::make_mixture_denoiser(model.analytic().mixture, model.analytic().errors));
  return stoppable(
      diffusion::make_denoiser(network_with(model, given, nullptr, Derivatives::in_x_alone),
                               parametrisation(model.config.diffusion)));
}

namespace {

std::shared_ptr<models::ScoreNetwork> build_network(const config::Config& config,
                                                    c10::IntArrayRef example_shape) {
  models::ModelOptions o = model_options(config, static_cast<uint64_t>(config.train.seed));
  const bool variance = parametrisation(config.diffusion).learned_variance;
  o.unet.learned_variance = o.mlp.learned_variance = o.dit.learned_variance = variance;
  if (config.model.type != "classifier") return models::make_model(o, example_shape);
  return models::make_classifier({o.unet, o.mlp, config.model.num_classes, o.seed}, example_shape);
}

// A stranger's operations may wait for the host, which no recording survives: run.graph is not
// heeded.
TrainedNetwork build_foreign(const config::Config& config, c10::IntArrayRef example_shape,
                             const std::string& archive, torch::Device device) {
  TrainedNetwork trained;
  trained.foreign = make_foreign_network(config, archive, example_shape, device);
  trained.network = trained.foreign;
  return trained;
}

TrainedNetwork build_own(const config::Config& config, c10::IntArrayRef example_shape,
                         torch::Device device) {
  TrainedNetwork trained;
  trained.network = build_network(config, example_shape);
  trained.network->to(device);
  if (config.run.graph && records_graphs(device))
    trained.recorded = std::make_shared<RecordedNetwork>();
  trained.classifier = std::dynamic_pointer_cast<models::Classifier>(trained.network);
  return trained;
}

// The network, and what is learned beside it.
TrainedNetwork build_trained(TrainedNetwork trained, const config::Config& config,
                             const std::shared_ptr<const diffusion::Schedule>& schedule,
                             torch::Device device) {
  trained.learned_schedule = std::dynamic_pointer_cast<const diffusion::LearnedSchedule>(schedule);
  if (trained.learned_schedule) trained.learned_schedule->network()->to(device);
  if (config.diffusion.loss == "uncertainty") {
    trained.uncertainty = std::make_shared<diffusion::UncertaintyWeight>();
    trained.uncertainty->to(device);
  }
  return trained;
}

}  // namespace

data::ExpectedData expected_data(const ScoreModel& model) {
  if (model.is_analytic()) return {model.name, {}, {}, 0};
  return {model.name, model.example_shape, model.traits, model.config.model.num_classes};
}

ScoreModel build_model(const config::Config& config, c10::IntArrayRef example_shape,
                       torch::Device device, const std::string& archive) {
  // cuDNN tries its kernels at the first pass of each shape and keeps the fastest.
  if (device.is_cuda()) at::globalContext().setBenchmarkCuDNN(true);
  ScoreModel model;
  model.config = config;
  model.example_shape = example_shape.vec();
  model.device = device;
  model.schedule = diffusion::make_schedule(config.diffusion.schedule);
  model.transforms = transform::TransformChain(config.data.transforms, config.data.missing);
  model.conditions = condition_chains(config);
  model.compute_dtype = models::compute_dtype(config.train.precision);
  models::round_products_as(config.train.precision);
  if (config.model.type == "gaussian_mixture") {
    const auto mixture = read_mixture(config.model.file);
    model.source = AnalyticMixture{mixture, score_errors(config.model, mixture->dims())};
    model.example_shape = {mixture->dims()};
  } else {
    TrainedNetwork network;
    if (config.model.type == "torchscript") {
      const std::string bytes = archive.empty() ? read_network_file(model.config) : archive;
      network = build_foreign(config, example_shape, bytes, device);
    } else {
      network = build_own(config, example_shape, device);
    }
    model.source = build_trained(std::move(network), config, model.schedule, device);
  }
  return model;
}

}  // namespace scorenet::score
