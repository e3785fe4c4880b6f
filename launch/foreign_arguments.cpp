#include "launch/foreign_arguments.hpp"

#include <algorithm>
#include <array>
#include <iostream>

#include "framework/config/fields.hpp"
#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/random.hpp"
#include "framework/data/fit.hpp"
#include "framework/score/convention_check.hpp"
#include "framework/score/foreign_network.hpp"
#include "framework/score/model_input.hpp"
#include "framework/score/told_conditions.hpp"
#include "launch/known_name.hpp"
#include "launch/numbers.hpp"
#include "launch/run_main.hpp"

namespace scorenet::launch {
namespace {

constexpr std::array kKeys{"model.level",
                           "model.input_scaling",
                           "model.output",
                           "model.variance",
                           "model.label_form",
                           "model.level_schedule",
                           "model.num_classes",
                           "model.timesteps",
                           "model.timestep_law",
                           "model.file_digest",
                           "model.timestep_beta_min",
                           "model.timestep_beta_max",
                           "model.convention_check",
                           "diffusion.schedule",
                           "diffusion.t_min",
                           "diffusion.t_max",
                           "diffusion.beta_min",
                           "diffusion.beta_max",
                           "diffusion.beta",
                           "diffusion.gamma_min",
                           "diffusion.gamma_max",
                           "diffusion.sigma_min",
                           "diffusion.sigma_max",
                           "diffusion.prediction",
                           "diffusion.loss",
                           "diffusion.sigma_data"};

}  // namespace

void add_foreign_options(CLI::App* verb, ForeignArguments& arguments) {
  CLI::App* group = verb->add_option_group("TorchScript network",
                                           "--network FILE.pt: what it expects and returns");
  group
      ->add_option("--convention", arguments.convention,
                   "its family, as model.convention; the options below in its place, or beside it")
      ->check(known_name(diffusion::convention_names()));
  group
      ->add_option("--shape", arguments.shape,
                   "shape of an example, channels first, such as 3,32,32 [that of the data]")
      ->delimiter(',')
      ->check(positive_number());
  config::Config defaults;
  for (const config::Field& field : config::fields(defaults)) {
    if (std::find(kKeys.begin(), kKeys.end(), field.name) == kKeys.end()) continue;
    const bool is_schedule = field.name == "diffusion.schedule";
    group->add_option_function<std::string>(
        (is_schedule ? "--schedule,--" : "--") + field.name,
        [&said = arguments.said, name = field.name](const std::string& value) {
          said.push_back("--" + name + "=" + value);
        },
        field.help);
  }
}

bool is_foreign(const std::string& network, const ForeignArguments& arguments) {
  if (network.empty() || network.ends_with(".safetensors")) return false;
  if (!arguments.convention.empty()) return true;
  return std::any_of(arguments.said.begin(), arguments.said.end(),
                     [](const std::string& key) { return key.starts_with("--model."); }) ||
         network.ends_with(".pt") || network.ends_with(".pth") || network.ends_with(".ts");
}

config::Config foreign_config(config::Config config, const ForeignArguments& arguments) {
  std::vector<std::string> said = arguments.said;
  if (!arguments.convention.empty()) said.push_back("--model.convention=" + arguments.convention);
  config.model.type = "torchscript";
  config::apply_overrides(config, said);
  config.data.labels = config.model.num_classes > 0;
  config::validate(config, 1);
  return config;
}

namespace {

std::vector<int64_t> shape_of(const config::Config& config, const ForeignArguments& arguments) {
  if (!arguments.shape.empty()) return arguments.shape;
  if (!arguments.data_shape.empty()) return arguments.data_shape;
  if (!config.data.map.path.empty())
    return data::ImageDataset(config.data.map, config.data.split, score::dataset_options(config))
        .example_shape();
  throw ConfigError("--network " + config.model.file +
                    ": a TorchScript file does not say which shape its examples have. Give "
                    "--shape, such as --shape 3,32,32.");
}

}  // namespace

score::ScoreModel load_foreign(const config::Config& config, const ForeignArguments& arguments,
                               const std::string& name, torch::Device device) {
  score::ScoreModel model = score::build_model(config, shape_of(config, arguments), device);
  model.name = name;
  return model;
}

void try_convention(const score::ScoreModel& model, data::ImageDataset* dataset) {
  if (model.is_analytic() || !model.trained().foreign) return;
  torch::Tensor x0;
  models::Conditions given;
  if (dataset) {
    const int64_t count =
        std::min(dataset->size(), score::examples_to_judge(dataset->example_shape()));
    data::check_fit(score::expected_data(model), *dataset, count);
    const data::Batch batch = dataset->read(slot_range(0, count));
    x0 = score::model_input(model, *dataset, batch).x;
    given = score::told_of_batch(model, *dataset, batch);
  }
  const std::string doubt = score::heed_convention(model, x0, given);
  if (!doubt.empty() && !launched_as_other_rank()) std::cerr << "note: " << doubt << std::endl;
}

void check_derivatives(const score::ScoreModel& model, const std::vector<std::string>& metrics) {
  if (model.is_analytic() || !model.trained().foreign) return;
  for (const std::string& metric : metrics) {
    const bool first = metric == "ode" || metric.starts_with("hbar");
    const int order = metric.starts_with("wkb") ? 2 : first ? 1 : 0;
    if (order == 0) continue;
    const std::string why = score::no_derivative_because(*model.trained().foreign,
                                                         model.example_shape, model.device, order);
    if (why.empty()) continue;
    throw ConfigError("--metrics " + metric + ": needs the network's " +
                      (order == 2 ? "second" : "first") + " derivative in x, which " + model.name +
                      " does not have (" + why +
                      "). Leave the metric out, or export the network with operations that have "
                      "one.");
  }
}

}  // namespace scorenet::launch
