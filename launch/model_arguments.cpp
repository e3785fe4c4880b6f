#include "launch/model_arguments.hpp"

#include <iostream>

#include "framework/comm/single_communicator.hpp"
#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/error.hpp"
#include "framework/files/output_guard.hpp"
#include "framework/score/model_input.hpp"
#include "framework/score/snapshot.hpp"
#include "framework/score/told_conditions.hpp"
#include "launch/run_main.hpp"
#include "models/autocast.hpp"
#include "models/native_precision.hpp"
#include "models/options.hpp"

namespace scorenet::launch {

void add_model_options(CLI::App* verb, ModelArguments& arguments) {
  auto* network = verb->add_option("--network", arguments.network,
                                   "snapshot (.safetensors) of a trained network, or a TorchScript "
                                   "file (.pt) with its --convention");
  auto* config = verb->add_option("--config", arguments.config,
                                  "config of an analytic model (model.type = gaussian_mixture) or "
                                  "of a TorchScript network (torchscript)");
  verb->add_option(
          "--precision", arguments.precision,
          "precision of the network's arithmetic: fp32, tf32 (fp32 whose products a GPU rounds), "
          "bf16, fp16; auto: fp32, the same numbers "
          "on every machine [its config's train.precision]")
      ->check(CLI::IsMember(models::precision_names()));
  add_foreign_options(verb, arguments.foreign);
  network->excludes(config);
  config->excludes(network);
}

namespace {

// The note of an imitated precision, once a job.
void set_precision(score::ScoreModel& model, const std::string& asked) {
  const std::string precision = asked.empty() ? model.config.train.precision : asked;
  model.compute_dtype = models::compute_dtype(precision);
  models::round_products_as(precision);
  const std::string cost = models::cost_of_precision(precision, model.device);
  if (cost.empty() || launched_as_other_rank()) return;
  std::cerr << "note: " << model.name << " computes in " << precision << ": " << cost
            << ". Give --precision fp32 to avoid this." << std::endl;
}

// An analytic model was not trained: its statistics are those of the data that its config names.
void measure_statistics(score::ScoreModel& model, const std::string& config_path) {
  if (!score::lacks_statistics(model)) return;
  const config::DataConfig& data = model.config.data;
  if (data.map.path.empty()) {
    throw ConfigError(
        config_path +
        ": data.transforms standardises, but data.path names no data to measure the mean and the "
        "deviation of. Set data.path, or use affine(a, b).");
  }
  data::ImageDataset dataset(data.map, data.split, score::dataset_options(model.config));
  const auto alone = comm::make_single_communicator();
  score::measure_transforms(model, dataset, *alone);
}

}  // namespace

std::vector<files::NamedPath> inputs_of(const ModelArguments& arguments) {
  std::vector<files::NamedPath> inputs{{"--network", arguments.network},
                                       {"--config", arguments.config}};
  if (!arguments.config.empty())
    inputs.push_back({"model.file", config::parse_file(arguments.config).model.file});
  return inputs;
}

std::optional<config::Config> foreign_config_of(const ModelArguments& arguments) {
  const ForeignArguments& foreign = arguments.foreign;
  if (is_foreign(arguments.network, foreign)) {
    config::Config config;
    config.model.file = arguments.network;
    return foreign_config(config, foreign);
  }
  if (!arguments.config.empty()) {
    const config::Config config = config::parse_file(arguments.config);
    if (config.model.type == "torchscript") return foreign_config(config, foreign);
  }
  if (foreign.convention.empty() && foreign.shape.empty() && foreign.said.empty())
    return std::nullopt;
  throw ConfigError(
      "--convention, --shape, --model.* and --diffusion.*: belong to a TorchScript "
      "network, and " +
      (arguments.network.empty() ? arguments.config : arguments.network) +
      " is none: it says itself what it is. Leave them out.");
}

LoadedModel load_model(const ModelArguments& arguments, torch::Device device) {
  if (const auto foreign = foreign_config_of(arguments)) {
    const std::string& name = arguments.network.empty() ? arguments.config : arguments.network;
    score::ScoreModel model = load_foreign(*foreign, arguments.foreign, name, device);
    set_precision(model, arguments.precision);
    std::vector<int64_t> shape = model.example_shape;
    return {std::move(model), std::move(shape)};
  }
  if (!arguments.network.empty()) {
    score::LoadedSnapshot snapshot = score::load_snapshot(arguments.network, device);
    if (snapshot.model.is_classifier()) {
      throw ConfigError(
          arguments.network +
          ": is a classifier, which has no score to evaluate or sample. Give it to sample with "
          "--classifier.");
    }
    set_precision(snapshot.model, arguments.precision);
    return {std::move(snapshot.model), std::move(snapshot.example_shape)};
  }
  if (arguments.config.empty()) {
    throw ConfigError(
        "no model: give --network SNAPSHOT.safetensors, or --config FILE.toml for an analytic "
        "model.");
  }
  const config::Config config = config::parse_file(arguments.config);
  if (config.model.type != "gaussian_mixture") {
    throw ConfigError(arguments.config + ": model.type = " + config.model.type +
                      " has no weights in a config file. Give its snapshot with --network.");
  }
  config::validate(config, 1);
  score::ScoreModel model = score::build_model(config, {}, device);
  model.name = arguments.config;
  measure_statistics(model, arguments.config);
  const int64_t dims = model.analytic().mixture->dims();
  return {std::move(model), {dims}};
}

LoadedModel load_classifier(const std::string& path, torch::Device device) {
  score::LoadedSnapshot snapshot = score::load_snapshot(path, device);
  if (snapshot.model.is_classifier())
    return {std::move(snapshot.model), std::move(snapshot.example_shape)};
  throw ConfigError("--classifier " + path + ": model.type = " + snapshot.model.config.model.type +
                    " is no classifier. Train one with model.type = classifier.");
}

}  // namespace scorenet::launch
