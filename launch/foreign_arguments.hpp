// evaluate and sample with a TorchScript file: --network net.pt --convention edm is short for a
// config with model.type = torchscript and these keys.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::launch {

struct ForeignArguments {
  std::string convention = {};           // --convention
  std::vector<int64_t> shape = {};       // --shape
  std::vector<std::string> said = {};    // --model.KEY=VALUE, --diffusion.KEY=VALUE
  std::vector<int64_t> data_shape = {};  // of the data that is evaluated; not an option
};

void add_foreign_options(CLI::App* verb, ForeignArguments& arguments);

/// Whether this file is a TorchScript network's, by its name or because a convention is given.
bool is_foreign(const std::string& network, const ForeignArguments& arguments);

/// The config that these options are short for. base: as a config file says, or the defaults.
/// Throws ConfigError.
config::Config foreign_config(config::Config base, const ForeignArguments& arguments);

/// The model of such a config, named `name`. Its examples are as --shape says, or as the data's.
/// Throws ConfigError where neither is there, or as build_model.
score::ScoreModel load_foreign(const config::Config& config, const ForeignArguments& arguments,
                               const std::string& name, torch::Device device);

/// The convention tried on the first examples of `dataset`, or on noise without one. Writes to
/// standard error what is doubtful, once a job. Throws ConfigError where it is wrong
/// (score/convention_check.hpp). Does nothing for other models.
void try_convention(const score::ScoreModel& model, data::ImageDataset* dataset);

/// Throws ConfigError naming the metric that needs a derivative that the network lacks.
void check_derivatives(const score::ScoreModel& model, const std::vector<std::string>& metrics);

}  // namespace scorenet::launch
