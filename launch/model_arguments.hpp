// --network SNAPSHOT or --config ANALYTIC.toml: how evaluate and sample name a model.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "framework/files/output_guard.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::launch {

struct ModelArguments {
  std::string network;
  std::string config;
  std::string precision = {};  // in place of train.precision; "": as the config says
};

void add_model_options(CLI::App* verb, ModelArguments& arguments);

/// The files behind --network and --config, the mixture's own among them. Throws ConfigError for a
/// config that cannot be read.
std::vector<files::NamedPath> inputs_of(const ModelArguments& arguments);

struct LoadedModel {
  score::ScoreModel model;
  std::vector<int64_t> example_shape;
};

/// Loads the snapshot or the analytic model. Throws CheckpointError for a damaged snapshot,
/// DataError for a mixture file that cannot be read, ConfigError for a bad config or a classifier.
LoadedModel load_model(const ModelArguments& arguments, torch::Device device);

/// The snapshot of a classifier. Throws as above, ConfigError for one of a score network.
LoadedModel load_classifier(const std::string& path, torch::Device device);

}  // namespace scorenet::launch
