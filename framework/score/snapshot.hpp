// A network with its config in one safetensors file. evaluate and sample need nothing else, and
// other programs can read it.
//
// Tensors: the weights under their names (named_parameters), and the statistics of transforms
// ("transform.1.mean", "condition.NAME.transform.0.std", float64). Metadata: "scorenet.config" (the
// resolved config, TOML), "scorenet.example_shape" ("1,28,28"), "scorenet.step", "scorenet.weights"
// ("ema0.999", "raw"), "format" ("pt"), "scorenet.data" ("discrete", "continuous -1 1": kind and
// range of the training data, where they are known), "scorenet.program" (who wrote it:
// core/build_info.hpp), and the digests of checkpoint/digests.hpp,
// which every reader compares. Snapshots from before 2026-11-26 have no digests; they are read
// without that check.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/optim/flat_parameters.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::score {

struct SnapshotLabel {
  int64_t step = 0;
  std::string weights;         // "ema0.999"
  std::string precision = {};  // what training computed in ("scorenet.precision"); "": not said
  data::DataTraits traits = {};
  /// statistics_of(model): tensors beside the weights.
  std::vector<std::pair<std::string, torch::Tensor>> statistics = {};
};

/// values: a flat buffer with the layout of `parameters` (an average, or the weights themselves).
/// The file appears whole or not at all. Throws CheckpointError.
void save_snapshot(const std::filesystem::path& path, const config::Config& config,
                   const std::vector<int64_t>& example_shape,
                   const optim::FlatParameters& parameters, const torch::Tensor& values,
                   const SnapshotLabel& label);

/// The same from tensors by name. `metadata` is snapshot_metadata's; digests are
/// added. Throws CheckpointError.
void write_snapshot(const std::filesystem::path& path, const checkpoint::TensorMap& tensors,
                    const checkpoint::Metadata& metadata);

/// The metadata of a snapshot of this network.
checkpoint::Metadata snapshot_metadata(const config::Config& config,
                                       const std::vector<int64_t>& example_shape,
                                       const SnapshotLabel& label);

/// The step and weights, the config and the example's shape in such metadata. Throw CheckpointError
/// naming `path` and what is missing or wrong. The config must obey the rules of every config.
SnapshotLabel snapshot_label(const checkpoint::Metadata& metadata,
                             const std::filesystem::path& path);
config::Config snapshot_config(const checkpoint::Metadata& metadata,
                               const std::filesystem::path& path);
std::vector<int64_t> snapshot_example_shape(const checkpoint::Metadata& metadata,
                                            const std::filesystem::path& path);

/// Copies stored weights into the model's own. Throws CheckpointError naming `path` and the tensor
/// that is missing, of another shape, or too much.
void fill_weights(const ScoreModel& model, const checkpoint::TensorMap& stored,
                  const std::filesystem::path& path);

struct LoadedSnapshot {
  ScoreModel model;
  std::vector<int64_t> example_shape;
  int64_t step = 0;
  std::string label;
  bool has_digests = false;  // false: of an older version; damage to its numbers is not seen
};

/// Throws CheckpointError naming the file and what is missing, damaged or of another shape. The
/// network is made only if the file has as many numbers as its config asks for at least.
LoadedSnapshot load_snapshot(const std::filesystem::path& path, torch::Device device);

}  // namespace scorenet::score
