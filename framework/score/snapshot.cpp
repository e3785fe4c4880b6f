#include "framework/score/snapshot.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <sstream>

#include "framework/checkpoint/digests.hpp"
#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/build_info.hpp"
#include "framework/core/check.hpp"
#include "framework/core/finite.hpp"
#include "framework/score/foreign_network.hpp"
#include "framework/score/told_conditions.hpp"
#include "models/least_parameters.hpp"
#include "models/score_network.hpp"

namespace scorenet::score {
namespace {

std::string joined(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ",") + std::to_string(size);
  return text;
}

// A whole number in decimal digits and nothing else.
std::optional<int64_t> whole_number(const std::string& text) {
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number);
  if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
  return number;
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
                                   {"scorenet.weights", label.weights},
                                   {"scorenet.program", build_line()}};
  if (!label.precision.empty()) metadata["scorenet.precision"] = label.precision;
  if (label.traits.kind) metadata["scorenet.data"] = data::to_text(label.traits);
  return metadata;
}

SnapshotLabel snapshot_label(const checkpoint::Metadata& metadata,
                             const std::filesystem::path& path) {
  const std::string text = required(metadata, "scorenet.step", path);
  const auto step = whole_number(text);
  if (!step || *step < 0) {
    throw CheckpointError(path.string() + ": its metadata say step \"" + text +
                          "\", expected a whole number >= 0. The file is damaged.");
  }
  const auto data = metadata.find("scorenet.data");
  return {*step,
          required(metadata, "scorenet.weights", path),
          {},
          data == metadata.end() ? data::DataTraits() : data::traits_from_text(data->second),
          {}};
}

config::Config snapshot_config(const checkpoint::Metadata& metadata,
                               const std::filesystem::path& path) {
  const std::string text = required(metadata, "scorenet.config", path);
  const std::string where = path.string() + ", its config";
  try {
    config::Config config = config::parse_text(text, where);
    config::Config checked = config;
    checked.data.labels = checked.model.num_classes > 0;  // foreign weights name no data
    // One rank: what several would share out is no matter here.
    const auto problems = config::problems(checked, 1);
    if (!problems.empty())
      throw CheckpointError(where + ": " + problems.front() + " The file is damaged.");
    if (config.model.type == "gaussian_mixture")
      throw CheckpointError(where + ": model.type = gaussian_mixture has no weights to store.");
    return config;
  } catch (const ConfigError& error) {
    throw CheckpointError(std::string(error.what()) +
                          " The snapshot is damaged or of a newer version.");
  }
}

std::vector<int64_t> snapshot_example_shape(const checkpoint::Metadata& metadata,
                                            const std::filesystem::path& path) {
  const std::string text = required(metadata, "scorenet.example_shape", path);
  std::vector<int64_t> shape;
  std::istringstream in(text + ",");
  int64_t elements = 1;
  for (std::string part; std::getline(in, part, ',');) {
    const int64_t size = whole_number(part).value_or(0);
    // More would be 8 GiB an example.
    if (size < 1 || shape.size() >= 8 || size > std::numeric_limits<int32_t>::max() / elements) {
      throw CheckpointError(path.string() + ": its metadata say examples of shape \"" + text +
                            "\", expected sizes such as 1,28,28. The file is damaged.");
    }
    elements *= size;
    shape.push_back(size);
  }
  return shape;
}

void fill_weights(const ScoreModel& model, const checkpoint::TensorMap& stored,
                  const std::filesystem::path& path) {
  const torch::NoGradGuard no_grad;
  const auto parameters = named_parameters(model);
  for (const auto& [name, parameter] : parameters) {
    const auto found = stored.find(name);
    if (found == stored.end())
      throw CheckpointError(path.string() + ": tensor '" + name +
                            "' is missing. The file is damaged.");
    if (!found->second.is_floating_point()) {
      throw CheckpointError(path.string() + ", tensor '" + name +
                            "': " + c10::toString(found->second.scalar_type()) +
                            " numbers, weights are floating-point ones. The file is damaged.");
    }
    if (found->second.sizes() != parameter.sizes()) {
      throw CheckpointError(path.string() + ", tensor '" + name + "': shape " +
                            shape_string(found->second.sizes()) + ", expected " +
                            shape_string(parameter.sizes()) +
                            " by its own config. The file is damaged.");
    }
    parameter.copy_(found->second);
    check_finite(parameter, path.string() + ", tensor '" + name + "'");
  }
  const auto weights =
      static_cast<size_t>(std::count_if(stored.begin(), stored.end(), [](const auto& tensor) {
        return !is_statistic(tensor.first);
      }));
  if (parameters.size() != weights) {
    throw CheckpointError(path.string() + ": holds " + std::to_string(weights) +
                          " tensors, the model of its config has " +
                          std::to_string(parameters.size()) + ". The file is damaged.");
  }
}

void save_snapshot(const std::filesystem::path& path, const config::Config& config,
                   const std::vector<int64_t>& example_shape,
                   const optim::FlatParameters& parameters, const torch::Tensor& values,
                   const SnapshotLabel& label) {
  checkpoint::TensorMap tensors;
  for (size_t i = 0; i < parameters.names().size(); ++i) {
    tensors[parameters.names()[i]] = parameters.view_of(values, i).to(torch::kCPU).contiguous();
  }
  for (const auto& [name, statistics] : label.statistics) tensors[name] = statistics;
  write_snapshot(path, tensors, snapshot_metadata(config, example_shape, label));
}

void write_snapshot(const std::filesystem::path& path, const checkpoint::TensorMap& tensors,
                    const checkpoint::Metadata& metadata) {
  checkpoint::write_safetensors(path, tensors, checkpoint::with_digests(tensors, metadata));
}

namespace {

// A config may ask for a network that fills all memory; this one must be as large as the file.
void check_size(const config::Config& config, const std::vector<int64_t>& example_shape,
                const checkpoint::TensorMap& stored, const std::filesystem::path& path) {
  double numbers = 0;
  for (const auto& [name, tensor] : stored) numbers += static_cast<double>(tensor.numel());
  const models::ModelOptions options = model_options(config, 0);
  const double least = models::least_parameters(options, example_shape);
  if (least <= numbers) return;
  std::ostringstream sentence;
  sentence << path.string() << ": its config describes a network of at least " << least
           << " numbers, the file has " << numbers << ". The file is damaged.";
  throw CheckpointError(sentence.str());
}

// The TorchScript network that a snapshot carries; "" for others.
std::string stored_archive(const config::Config& config, const checkpoint::TensorMap& stored,
                           const std::filesystem::path& path) {
  if (config.model.type != "torchscript") return "";
  const auto found = stored.find(kArchiveName);
  if (found == stored.end() || found->second.scalar_type() != torch::kUInt8 ||
      found->second.dim() != 1 || found->second.numel() == 0) {
    throw CheckpointError(path.string() + ": has no tensor '" + kArchiveName +
                          "' with the network's TorchScript archive. The file is damaged.");
  }
  const torch::Tensor bytes = found->second.contiguous();
  return {reinterpret_cast<const char*>(bytes.data_ptr<uint8_t>()),
          static_cast<size_t>(bytes.numel())};
}

// What its own config cannot build is the file's fault, whatever layer says so.
ScoreModel build_stored(const config::Config& config, const LoadedSnapshot& snapshot,
                        const checkpoint::TensorMap& stored, const std::filesystem::path& path,
                        torch::Device device) {
  try {
    check_size(config, snapshot.example_shape, stored, path);
    return build_model(config, snapshot.example_shape, device,
                       stored_archive(config, stored, path));
  } catch (const CheckpointError&) {
    throw;
  } catch (const Error& error) {
    throw CheckpointError(path.string() + ", its config: " + error.what());
  } catch (const c10::Error& error) {
    throw CheckpointError(path.string() + ": no network can be built by its config (" +
                          error.what_without_backtrace() + "). The file is damaged.");
  }
}

}  // namespace

LoadedSnapshot load_snapshot(const std::filesystem::path& path, torch::Device device) {
  const checkpoint::Safetensors file = checkpoint::read_safetensors(path);
  LoadedSnapshot snapshot;
  const config::Config config = snapshot_config(file.metadata, path);
  snapshot.example_shape = snapshot_example_shape(file.metadata, path);
  const SnapshotLabel label = snapshot_label(file.metadata, path);
  snapshot.step = label.step;
  snapshot.label = label.weights;
  snapshot.has_digests = checkpoint::has_digests(file.metadata);
  snapshot.model = build_stored(config, snapshot, file.tensors, path, device);
  snapshot.model.name = path.string();
  snapshot.model.traits = label.traits;
  fill_weights(snapshot.model, file.tensors, path);
  restore_statistics(snapshot.model, file.tensors, path.string());
  snapshot.model.trained().network->eval();
  return snapshot;
}

}  // namespace scorenet::score
