#include "framework/train/diffusers.hpp"

#include <torch/utils.h>

#include <nlohmann/json.hpp>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/config/parse.hpp"
#include "framework/core/check.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/train/snapshot.hpp"

namespace scorenet::train {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr char kWeights[] = "diffusion_pytorch_model.safetensors";
constexpr char kOurConfig[] = "scorenet.toml";  // in folders that this program wrote

struct Name {
  const char* ours;
  const char* theirs;
};
constexpr Name kPredictions[] = {{"eps", "epsilon"}, {"x0", "sample"}, {"v", "v_prediction"}};
constexpr Name kLaws[] = {{"linear", "linear"},
                          {"scaled_linear", "scaled_linear"},
                          {"squared_cosine", "squaredcos_cap_v2"}};
// Attention layers of weights that were saved before diffusers 0.12.
constexpr Name kOldNames[] = {{".to_q.", ".query."},
                              {".to_k.", ".key."},
                              {".to_v.", ".value."},
                              {".to_out.0.", ".proj_attn."}};

Json read_json(const fs::path& path) {
  try {
    return Json::parse(files::read_file(path));
  } catch (const files::FileError& error) {
    throw CheckpointError(std::string(error.what()) + " Give a folder that save_pretrained wrote.");
  } catch (const Json::exception& error) {
    throw CheckpointError(path.string() + ": is not JSON (" + error.what() + ").");
  }
}

// The value of a key, or diffusers' own default where the file leaves it out or says null.
template <class T>
T value_or(const Json& json, const char* key, T otherwise) {
  return json.contains(key) && !json[key].is_null() ? json[key].get<T>() : otherwise;
}

[[noreturn]] void refuse(const std::string& key, const Json& value, const std::string& expected) {
  throw ConfigError("diffusers config, " + key + " = " + value.dump() + ": expected " + expected +
                    "; other networks cannot be converted.");
}

void require(const Json& json, const char* key, const Json& expected) {
  if (json.contains(key) && !json[key].is_null() && json[key] != expected)
    refuse(key, json[key], expected.dump());
}

std::string ours(const Json& json, const char* key, const char* otherwise, const auto& names) {
  const auto theirs = value_or<std::string>(json, key, otherwise);
  std::string known;
  for (const Name& name : names) {
    if (theirs == name.theirs) return name.ours;
    known += (known.empty() ? "" : ", ") + std::string(name.theirs);
  }
  refuse(key, theirs, "one of " + known);
}

std::string theirs(const std::string& our_name, const auto& names) {
  for (const Name& name : names)
    if (our_name == name.ours) return name.theirs;
  throw CheckpointError("diffusers has no name for \"" + our_name + "\".");
}

// A flag a level, from ["DownBlock2D", "AttnDownBlock2D"]; the way up must mirror the way down.
std::vector<bool> attention_flags(const Json& json, size_t levels) {
  if (!json.contains("down_block_types") || json["down_block_types"].size() != levels)
    refuse("down_block_types", json.value("down_block_types", Json()), "one a level");
  std::vector<bool> flags;
  Json mirrored = Json::array();
  for (const Json& type : json["down_block_types"]) {
    const bool attends = type == "AttnDownBlock2D";
    if (!attends && type != "DownBlock2D")
      refuse("down_block_types", type, "DownBlock2D or AttnDownBlock2D");
    flags.push_back(attends);
    mirrored.insert(mirrored.begin(), attends ? "AttnUpBlock2D" : "UpBlock2D");
  }
  require(json, "up_block_types", mirrored);
  return flags;
}

void refuse_what_we_lack(const Json& json) {
  require(json, "act_fn", "silu");
  require(json, "time_embedding_type", "positional");
  require(json, "resnet_time_scale_shift", "default");
  require(json, "center_input_sample", false);
  require(json, "add_attention", true);
  require(json, "mid_block_scale_factor", 1);
  require(json, "downsample_type", "conv");
  require(json, "upsample_type", "conv");
  require(json, "attn_norm_num_groups", value_or<int64_t>(json, "norm_num_groups", 32));
  if (json.contains("class_embed_type") && !json["class_embed_type"].is_null())
    refuse("class_embed_type", json["class_embed_type"], "null");
  require(json, "out_channels", value_or<int64_t>(json, "in_channels", 3));
}

void read_network(const Json& json, config::ModelConfig& model) {
  refuse_what_we_lack(json);
  model.type = "unet";
  model.channels = value_or<std::vector<int64_t>>(json, "block_out_channels", {224, 448, 672, 896});
  model.layers_per_block = value_or<int64_t>(json, "layers_per_block", 2);
  model.attention = attention_flags(json, model.channels.size());
  const bool one_head = json.contains("attention_head_dim") && json["attention_head_dim"].is_null();
  model.attention_head_dim = one_head ? 0 : value_or<int64_t>(json, "attention_head_dim", 8);
  model.norm_groups = value_or<int64_t>(json, "norm_num_groups", 32);
  model.norm_eps = value_or(json, "norm_eps", 1e-5);
  model.dropout = value_or(json, "dropout", 0.0);
  model.num_classes = value_or<int64_t>(json, "num_class_embeds", 0);
  model.downsample_padding = value_or<int64_t>(json, "downsample_padding", 1);
  model.cosines_first = value_or(json, "flip_sin_to_cos", true);
  model.freq_shift = value_or(json, "freq_shift", 0.0);
}

void read_scheduler(const Json& json, config::Config& config) {
  require(json, "rescale_betas_zero_snr", false);
  if (json.contains("trained_betas") && !json["trained_betas"].is_null())
    refuse("trained_betas", "[...]", "null");
  config::ModelConfig& model = config.model;
  model.timesteps = value_or<int64_t>(json, "num_train_timesteps", 1000);
  model.timestep_law = ours(json, "beta_schedule", "linear", kLaws);
  model.timestep_beta_min = value_or(json, "beta_start", 1e-4);
  model.timestep_beta_max = value_or(json, "beta_end", 0.02);
  config.diffusion.prediction = ours(json, "prediction_type", "epsilon", kPredictions);
  // The continuous schedule with the same levels; scaled_linear has none of its own and needs none.
  const auto n = static_cast<double>(model.timesteps);
  config.diffusion.schedule = model.timestep_law == "squared_cosine" ? "vp_cosine" : "vp_linear";
  config.diffusion.beta_min = n * model.timestep_beta_min;
  config.diffusion.beta_max = n * model.timestep_beta_max;
}

std::vector<int64_t> example_shape_of(const Json& json) {
  const Json size = json.value("sample_size", Json());
  const auto channels = value_or<int64_t>(json, "in_channels", 3);
  if (size.is_number_integer()) return {channels, size.get<int64_t>(), size.get<int64_t>()};
  if (size.is_array() && size.size() == 2)
    return {channels, size[0].get<int64_t>(), size[1].get<int64_t>()};
  refuse("sample_size", size, "a number or [height, width]");
}

checkpoint::TensorMap with_our_names(const checkpoint::TensorMap& stored) {
  checkpoint::TensorMap renamed;
  for (const auto& [key, tensor] : stored) {
    std::string name = key;
    for (const Name& old : kOldNames) {
      const auto at = name.find(old.theirs);
      if (at != std::string::npos) name.replace(at, std::string(old.theirs).size(), old.ours);
    }
    renamed[name] = tensor;
  }
  return renamed;
}

// A row of zeros for "no label": the network without any class's contribution.
void add_no_label_row(checkpoint::TensorMap& tensors) {
  const auto found = tensors.find("class_embedding.weight");
  if (found == tensors.end()) return;
  const auto& rows = found->second;
  found->second = torch::cat({rows, torch::zeros({1, rows.size(1)}, rows.options())});
}

fs::path model_folder(const fs::path& folder) {
  return fs::exists(folder / "unet" / "config.json") ? folder / "unet" : folder;
}

Json scheduler_json(const fs::path& folder) {
  for (const fs::path& path :
       {folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"})
    if (fs::exists(path)) return read_json(path);
  return Json::object();
}

Json unet_json(const config::ModelConfig& model, const std::vector<int64_t>& shape) {
  Json down = Json::array(), up = Json::array();
  for (size_t i = 0; i < model.channels.size(); ++i) {
    const bool attends = !model.attention.empty() && model.attention[i];
    down.push_back(attends ? "AttnDownBlock2D" : "DownBlock2D");
    up.insert(up.begin(), attends ? "AttnUpBlock2D" : "UpBlock2D");
  }
  Json out;
  out["_class_name"] = "UNet2DModel";
  out["sample_size"] = {shape[1], shape[2]};
  out["in_channels"] = shape[0];
  out["out_channels"] = shape[0];
  out["block_out_channels"] = model.channels;
  out["layers_per_block"] = model.layers_per_block;
  out["down_block_types"] = down;
  out["up_block_types"] = up;
  out["attention_head_dim"] =
      model.attention_head_dim == 0 ? Json(nullptr) : Json(model.attention_head_dim);
  out["norm_num_groups"] = model.norm_groups;
  out["norm_eps"] = model.norm_eps;
  out["act_fn"] = "silu";
  out["dropout"] = model.dropout;
  out["downsample_padding"] = model.downsample_padding;
  out["time_embedding_type"] = "positional";
  out["flip_sin_to_cos"] = model.cosines_first;
  out["freq_shift"] = model.freq_shift;
  out["num_class_embeds"] =
      model.num_classes == 0 ? Json(nullptr) : Json(model.num_classes + 1);  // and "no label"
  return out;
}

Json scheduler_json(const config::Config& config) {
  Json out;
  out["_class_name"] = "DDPMScheduler";
  out["num_train_timesteps"] = config.model.timesteps;
  out["beta_schedule"] = theirs(config.model.timestep_law, kLaws);
  out["beta_start"] = config.model.timestep_beta_min;
  out["beta_end"] = config.model.timestep_beta_max;
  out["prediction_type"] = theirs(config.diffusion.prediction, kPredictions);
  return out;
}

std::string usage(const config::Config& config) {
  std::string text =
      "A U-Net trained by scorenet.\n\n"
      "    unet = diffusers.UNet2DModel.from_pretrained(FOLDER)\n"
      "    prediction = unet(x_t, timestep).sample        # of " +
      config.diffusion.prediction + ", schedule " + config.diffusion.schedule + "\n\n";
  text += config.model.timesteps > 0
              ? "timestep: as in scheduler/scheduler_config.json.\n"
              : "timestep = 25 (20 - log_snr), a float: log_snr = log(alpha^2 / sigma^2) of x_t = "
                "alpha x0 + sigma eps.\n";
  if (config.model.num_classes > 0)
    text += "class_labels = " + std::to_string(config.model.num_classes) + " asks for no label.\n";
  return text;
}

void check_convertible(const LoadedSnapshot& snapshot, const fs::path& path) {
  const config::ModelConfig& model = snapshot.model.config.model;
  if (model.type == "unet" && !model.fourier_features) return;
  throw CheckpointError(path.string() + ": model.type = " + model.type +
                        (model.fourier_features ? " with Fourier features" : "") +
                        " has no counterpart in diffusers, only a plain unet has. Convert another "
                        "snapshot.");
}

}  // namespace

void snapshot_from_diffusers(const fs::path& folder, const fs::path& snapshot) {
  const fs::path model = model_folder(folder);
  const Json json = read_json(model / "config.json");
  const bool written_by_us = fs::exists(model / kOurConfig);
  auto tensors = with_our_names(checkpoint::read_safetensors(model / kWeights).tensors);
  config::Config config;
  if (written_by_us) {
    config = config::parse_file((model / kOurConfig).string());
  } else {
    read_network(json, config.model);
    read_scheduler(scheduler_json(folder), config);
    add_no_label_row(tensors);
  }
  const auto shape = example_shape_of(json);
  const ScoreModel built = build_model(config, shape, torch::kCPU);
  fill_weights(built, tensors, model / kWeights);  // checks names and shapes
  for (auto& [name, tensor] : tensors) tensor = tensor.to(torch::kFloat32);
  write_snapshot(snapshot, tensors, snapshot_metadata(config, shape, {0, "diffusers"}));
}

std::vector<std::string> diffusers_files() {
  return {"config.json", kWeights, "README.md", kOurConfig, "scheduler/scheduler_config.json"};
}

void snapshot_to_diffusers(const fs::path& path, const fs::path& folder) {
  const LoadedSnapshot snapshot = load_snapshot(path, torch::kCPU);
  check_convertible(snapshot, path);
  const config::Config& config = snapshot.model.config;
  fs::create_directories(folder);
  checkpoint::write_safetensors(folder / kWeights, checkpoint::read_safetensors(path).tensors,
                                {{"format", "pt"}});
  const auto write = [](const fs::path& file, const std::string& text) {
    files::write_file_atomically(file, text);
  };
  write(folder / "config.json", unet_json(config.model, snapshot.example_shape).dump(2) + "\n");
  write(folder / "README.md", usage(config));
  write(folder / kOurConfig, config::to_toml(config));
  if (config.model.timesteps == 0) return;
  fs::create_directories(folder / "scheduler");
  write(folder / "scheduler" / "scheduler_config.json", scheduler_json(config).dump(2) + "\n");
}

}  // namespace scorenet::train
