#include "framework/score/diffusers.hpp"

#include <torch/utils.h>

#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/check.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/files/output_guard.hpp"
#include "framework/score/diffusers_network.hpp"
#include "framework/score/diffusers_pipeline.hpp"
#include "framework/score/diffusers_scheduler.hpp"
#include "framework/score/diffusers_weights.hpp"
#include "framework/score/numbered_steps.hpp"
#include "framework/score/snapshot.hpp"

namespace scorenet::score {
namespace {

namespace fs = std::filesystem;

constexpr char kWeights[] = "diffusion_pytorch_model.safetensors";
constexpr char kOurConfig[] = "scorenet.toml";  // beside the weights that this program wrote

// A row of zeros for "no label": the network without any class's contribution.
void add_no_label_row(checkpoint::TensorMap& tensors) {
  const auto found = tensors.find("class_embedding.weight");
  if (found == tensors.end()) return;
  const auto& rows = found->second;
  found->second = torch::cat({rows, torch::zeros({1, rows.size(1)}, rows.options())});
}

// Whatever cannot be looked at is not there: opening it says why.
bool there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

fs::path model_folder(const fs::path& folder) {
  return there(folder / "unet" / "config.json") ? folder / "unet" : folder;
}

// A pipeline of more than a network and a scheduler works on something else than images.
void check_pipeline(const fs::path& folder) {
  const fs::path path = folder / "model_index.json";
  if (!there(path)) return;
  const JsonKeys keys(path);
  for (const auto& [key, value] : keys.json().items()) {
    const bool absent = value.is_array() && !value.empty() && value[0].is_null();
    if (key.starts_with("_") || key == "unet" || key == "scheduler" || !value.is_array() || absent)
      continue;
    keys.refuse(key, "a pipeline of unet and scheduler alone",
                "A network that works on what another part makes cannot be converted.");
  }
}

// Where the scheduler of this network is described; empty if nowhere. Of a pipeline's unet, in the
// folder beside it.
fs::path scheduler_file(const fs::path& folder) {
  std::vector<fs::path> places = {folder / "scheduler" / "scheduler_config.json",
                                  folder / "scheduler_config.json"};
  const fs::path pipeline = fs::absolute(folder).lexically_normal() / "..";
  if (there(pipeline / "model_index.json"))
    places.push_back((pipeline / "scheduler" / "scheduler_config.json").lexically_normal());
  for (const fs::path& path : places)
    if (there(path)) return path;
  return {};
}

[[noreturn]] void refuse_without_scheduler(const fs::path& folder) {
  throw CheckpointError(
      (folder / "scheduler" / "scheduler_config.json").string() +
      ": no such file, and without it neither the noise levels of the network's steps nor the "
      "meaning of its output are known. Add the one that it was trained with, such as "
      R"({"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear", )"
      R"("beta_start": 0.0001, "beta_end": 0.02, "prediction_type": "epsilon"}.)");
}

// Before the network is built, whose size is the config's: the file has as many blocks, as wide.
void check_blocks(const config::ModelConfig& model, const checkpoint::TensorMap& tensors,
                  const fs::path& path) {
  for (size_t level = 0; level < model.unet.channels.size(); ++level) {
    for (int64_t block = 0; block < model.unet.layers_per_block; ++block) {
      const std::string name = "down_blocks." + std::to_string(level) + ".resnets." +
                               std::to_string(block) + ".conv1.weight";
      const auto found = tensors.find(name);
      if (found == tensors.end())
        throw CheckpointError(path.string() + ": tensor '" + name +
                              "' is missing, which config.json asks for.");
      if (found->second.dim() == 4 && found->second.size(0) == model.unet.channels[level]) continue;
      throw CheckpointError(path.string() + ", tensor '" + name + "': shape " +
                            shape_string(found->second.sizes()) + ", expected (" +
                            std::to_string(model.unet.channels[level]) + ", ...) by config.json.");
    }
  }
}

void refuse_extra(const ScoreModel& model, const checkpoint::TensorMap& tensors,
                  const fs::path& path) {
  std::map<std::string, torch::Tensor> known;
  for (const auto& [name, parameter] : named_parameters(model)) known[name] = parameter;
  for (const auto& [name, tensor] : tensors)
    if (!known.contains(name))
      throw CheckpointError(path.string() + ", tensor '" + name +
                            "': the network of config.json has none of this name.");
}

// What the folder says of the network; the scheduler's text is kept for the way back.
config::Config foreign_config(JsonKeys& keys, const fs::path& scheduler) {
  config::Config config;
  read_unet2d(keys, config);
  JsonKeys scheduler_keys(scheduler);
  read_scheduler(scheduler_keys, config);
  config::validate(config, 1);
  return config;
}

void check_convertible(const LoadedSnapshot& snapshot, const fs::path& path) {
  const config::ModelConfig& model = snapshot.model.config.model;
  std::string what;
  if (model.fourier_features) what = " with Fourier features";
  if (model.padding != config::ModelConfig().padding) what = " with periodic axes";
  if (!snapshot.model.config.conditions.empty()) what = " that is told conditions";
  if (snapshot.model.config.data.augment > 0) what = " that is told augmentations (data.augment)";
  if (snapshot.example_shape.size() != 3)
    what = " of examples of shape " + shape_string(snapshot.example_shape);
  if (model.type == "unet" && what.empty()) return;
  throw CheckpointError(
      path.string() + ": model.type = " + model.type + what +
      " has no counterpart in diffusers, only a plain unet of images has. Convert another "
      "snapshot.");
}

// All of them: what a UNet2DModel has no place for, such as a learned schedule, from_pretrained
// passes over, and the way back needs it.
checkpoint::TensorMap weights_of(const LoadedSnapshot& snapshot) {
  checkpoint::TensorMap weights;
  for (const auto& [name, parameter] : named_parameters(snapshot.model))
    weights[name] = parameter.detach().to(torch::kCPU).contiguous();
  return weights;
}

std::string kept_scheduler(const fs::path& path) {
  const auto metadata = checkpoint::read_safetensors_header(path).metadata;
  const auto kept = metadata.find(kSchedulerText);
  return kept != metadata.end() ? kept->second : "";
}

}  // namespace

void snapshot_from_diffusers(const fs::path& folder, const fs::path& snapshot) {
  check_pipeline(folder);
  const fs::path model = model_folder(folder);
  JsonKeys keys(model / "config.json");
  const bool written_by_us = there(model / kOurConfig);
  const fs::path scheduler = scheduler_file(folder);
  if (!written_by_us && scheduler.empty()) refuse_without_scheduler(folder);
  const config::Config config = written_by_us ? config::parse_file((model / kOurConfig).string())
                                              : foreign_config(keys, scheduler);
  auto tensors = read_diffusers_weights(model);
  if (written_by_us) turn_back(tensors);
  if (!written_by_us) add_no_label_row(tensors);
  check_blocks(config.model, tensors, model / kWeights);
  const auto shape = unet2d_example_shape(keys);
  const ScoreModel built = build_model(config, shape, torch::kCPU);
  refuse_extra(built, tensors, model / kWeights);
  fill_weights(built, tensors, model / kWeights);  // checks names and shapes
  checkpoint::Metadata metadata = snapshot_metadata(config, shape, {0, "diffusers"});
  if (!scheduler.empty() && config.model.numbered.steps > 0)
    metadata[kSchedulerText] = files::read_file(scheduler);
  write_snapshot(snapshot, tensors, metadata);
}

std::vector<std::string> diffusers_files() {
  return {"model_index.json",
          "README.md",
          "pipeline.py",
          "unet/config.json",
          std::string("unet/") + kWeights,
          std::string("unet/") + kOurConfig,
          "scheduler/scheduler_config.json"};
}

void snapshot_to_diffusers(const fs::path& path, const fs::path& folder) {
  const LoadedSnapshot snapshot = load_snapshot(path, torch::kCPU);
  check_convertible(snapshot, path);
  const config::Config& config = snapshot.model.config;
  const DiffusersPipeline made =
      make_pipeline(snapshot, weights_of(snapshot), kept_scheduler(path));
  const std::string network = unet2d_json(config, snapshot.example_shape).dump(2) + "\n";
  files::make_output_folder({"--outdir", folder / "unet"});
  checkpoint::write_safetensors(folder / "unet" / kWeights, made.weights, {{"format", "pt"}});
  const std::pair<fs::path, std::string> texts[] = {
      {fs::path("unet") / "config.json", network},
      {fs::path("unet") / kOurConfig, config::to_toml(config)},
      {fs::path("scheduler") / "scheduler_config.json", made.scheduler},
      {"pipeline.py", made.pipeline},
      {"README.md", made.readme},
      {"model_index.json", made.model_index}};
  for (const auto& [name, text] : texts) {
    if (text.empty()) continue;
    files::make_output_folder({"--outdir", (folder / name).parent_path()});
    files::write_file_atomically(folder / name, text);
  }
}

}  // namespace scorenet::score
