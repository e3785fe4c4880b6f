// --network SNAPSHOT, --network NET.pt or --config FILE.toml: how evaluate and sample name a model.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "framework/files/output_guard.hpp"
#include "framework/score/score_model.hpp"
#include "launch/foreign_arguments.hpp"

namespace scorenet::launch {

struct ModelArguments {
  std::string network;
  std::string config;
  std::string precision = {};  // in place of train.precision; "": as the config says
  ForeignArguments foreign = {};
};

void add_model_options(CLI::App* verb, ModelArguments& arguments);

/// The files behind --network and --config, the mixture's own among them. Throws ConfigError for a
/// config that cannot be read.
std::vector<files::NamedPath> inputs_of(const ModelArguments& arguments);

struct LoadedModel {
  score::ScoreModel model;
  std::vector<int64_t> example_shape;
};

/// The config of a TorchScript network that these arguments name; none for other models. Throws
/// ConfigError.
std::optional<config::Config> foreign_config_of(const ModelArguments& arguments);

/// Loads the snapshot, the TorchScript network or the analytic model. Throws CheckpointError for
/// a damaged snapshot,
/// DataError for a mixture file that cannot be read, ConfigError for a bad config or a classifier.
LoadedModel load_model(const ModelArguments& arguments, torch::Device device);

/// The snapshot of a classifier. Throws as above, ConfigError for one of a score network.
LoadedModel load_classifier(const std::string& path, torch::Device device);

}  // namespace scorenet::launch
