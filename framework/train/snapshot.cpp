#include "framework/train/snapshot.hpp"

#include <sstream>

#include "framework/config/parse.hpp"
#include "framework/core/check.hpp"
#include "framework/core/finite.hpp"

namespace scorenet::train {
namespace {

std::string joined(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ",") + std::to_string(size);
  return text;
}

std::vector<int64_t> split(const std::string& text) {
  std::vector<int64_t> shape;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) shape.push_back(std::atoll(part.c_str()));
  return shape;
}

std::string required(const checkpoint::Metadata& metadata, const std::string& key,
                     const std::filesystem::path& path) {
  const auto found = metadata.find(key);
  if (found != metadata.end()) return found->second;
  throw CheckpointError(path.string() + ": has no '" + key +
                        "' in its metadata, so it is no scorenet snapshot. Give a file of a "
                        "run's snapshots folder, or convert foreign weights first.");
}

}  // namespace

checkpoint::Metadata snapshot_metadata(const config::Config& config,
                                       const std::vector<int64_t>& example_shape,
                                       const SnapshotLabel& label) {
  checkpoint::Metadata metadata = {{"format", "pt"},
                                   {"scorenet.config", config::to_toml(config)},
                                   {"scorenet.example_shape", joined(example_shape)},
                                   {"scorenet.step", std::to_string(label.step)},
                                   {"scorenet.weights", label.weights}};
  if (!label.precision.empty()) metadata["scorenet.precision"] = label.precision;
  return metadata;
}

SnapshotLabel snapshot_label(const checkpoint::Metadata& metadata,
                             const std::filesystem::path& path) {
  return {std::atoll(required(metadata, "scorenet.step", path).c_str()),
          required(metadata, "scorenet.weights", path)};
}

config::Config snapshot_config(const checkpoint::Metadata& metadata,
                               const std::filesystem::path& path) {
  return config::parse_text(required(metadata, "scorenet.config", path), path.string());
}

void fill_weights(const ScoreModel& model, const checkpoint::TensorMap& stored,
                  const std::filesystem::path& path) {
  const torch::NoGradGuard no_grad;
  const auto parameters = named_parameters(model);
  for (const auto& [name, parameter] : parameters) {
    const auto found = stored.find(name);
    if (found == stored.end())
      throw CheckpointError(path.string() + ": tensor '" + name + "' is missing.");
    if (found->second.sizes() != parameter.sizes()) {
      throw CheckpointError(path.string() + ", tensor '" + name + "': shape " +
                            shape_string(found->second.sizes()) + ", expected " +
                            shape_string(parameter.sizes()) + " by its own config.");
    }
    parameter.copy_(found->second);
    check_finite(parameter, path.string() + ", tensor '" + name + "'");
  }
  if (parameters.size() != stored.size()) {
    throw CheckpointError(path.string() + ": holds " + std::to_string(stored.size()) +
                          " tensors, the model of its config has " +
                          std::to_string(parameters.size()) + ".");
  }
}

void save_snapshot(const std::filesystem::path& path, const config::Config& config,
                   const std::vector<int64_t>& example_shape, const FlatParameters& parameters,
                   const torch::Tensor& values, const SnapshotLabel& label) {
  checkpoint::TensorMap tensors;
  for (size_t i = 0; i < parameters.names().size(); ++i) {
    tensors[parameters.names()[i]] = parameters.view_of(values, i).to(torch::kCPU).contiguous();
  }
  checkpoint::write_safetensors(path, tensors, snapshot_metadata(config, example_shape, label));
}

LoadedSnapshot load_snapshot(const std::filesystem::path& path, torch::Device device) {
  const checkpoint::Safetensors file = checkpoint::read_safetensors(path);
  LoadedSnapshot snapshot;
  const config::Config config = snapshot_config(file.metadata, path);
  snapshot.example_shape = split(required(file.metadata, "scorenet.example_shape", path));
  const SnapshotLabel label = snapshot_label(file.metadata, path);
  snapshot.step = label.step;
  snapshot.label = label.weights;
  snapshot.model = build_model(config, snapshot.example_shape, device);
  snapshot.model.name = path.string();
  fill_weights(snapshot.model, file.tensors, path);
  snapshot.model.network->eval();
  return snapshot;
}

}  // namespace scorenet::train
