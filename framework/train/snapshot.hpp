// A network with its config in one safetensors file: all that evaluate and sample need, and open to other programs.
//
// Tensors: the weights under their names (named_parameters). Metadata: "scorenet.config" (the resolved config, TOML),
// "scorenet.example_shape" ("1,28,28"), "scorenet.step", "scorenet.weights" ("ema0.999", "raw"), "format" ("pt").
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/train/flat_parameters.hpp"
#include "framework/train/score_model.hpp"

namespace scorenet::train {

struct SnapshotLabel {
  int64_t step = 0;
  std::string weights;         // "ema0.999"
  std::string precision = {};  // what training computed in ("scorenet.precision"); "": not said
};

/// values: a flat buffer with the layout of `parameters` (an average, or the weights themselves). The file appears whole
/// or not at all. Throws CheckpointError.
void save_snapshot(const std::filesystem::path& path, const config::Config& config,
                   const std::vector<int64_t>& example_shape, const FlatParameters& parameters,
                   const torch::Tensor& values, const SnapshotLabel& label);

/// What a snapshot of this network says of itself beside its tensors.
checkpoint::Metadata snapshot_metadata(const config::Config& config,
                                       const std::vector<int64_t>& example_shape,
                                       const SnapshotLabel& label);

/// The step and weights, and the config, that such metadata speak of. Throw CheckpointError naming `path` and what is missing.
SnapshotLabel snapshot_label(const checkpoint::Metadata& metadata,
                             const std::filesystem::path& path);
config::Config snapshot_config(const checkpoint::Metadata& metadata,
                               const std::filesystem::path& path);

/// Copies stored weights into the model's own. Throws CheckpointError naming `path` and the tensor that is missing, of
/// another shape, or too much.
void fill_weights(const ScoreModel& model, const checkpoint::TensorMap& stored,
                  const std::filesystem::path& path);

struct LoadedSnapshot {
  ScoreModel model;
  std::vector<int64_t> example_shape;
  int64_t step = 0;
  std::string label;
};

/// Throws CheckpointError naming the file and what is missing, damaged or of another shape.
LoadedSnapshot load_snapshot(const std::filesystem::path& path, torch::Device device);

}  // namespace scorenet::train
