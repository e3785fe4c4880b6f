#include "framework/score/diffusers_network.hpp"

#include <limits>

namespace scorenet::score {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kWidest = 1 << 16;  // channels, pixels of a side
constexpr char kOthers[] = "Other networks cannot be converted.";

// A flag a level, from ["DownBlock2D", "AttnDownBlock2D"]; the way up must mirror the way down.
std::vector<bool> attention_flags(JsonKeys& keys, size_t levels) {
  const auto down = keys.texts(
      "down_block_types", {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"});
  const auto up = keys.texts("up_block_types",
                             {"AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"});
  std::vector<bool> flags;
  std::vector<std::string> mirrored;
  for (const std::string& type : down) {
    const bool attends = type == "AttnDownBlock2D";
    if (!attends && type != "DownBlock2D")
      keys.refuse("down_block_types", "DownBlock2D and AttnDownBlock2D alone", kOthers);
    flags.push_back(attends);
    mirrored.insert(mirrored.begin(), attends ? "AttnUpBlock2D" : "UpBlock2D");
  }
  if (down.size() != levels)
    keys.refuse("down_block_types",
                "one for each of the " + std::to_string(levels) + " numbers of block_out_channels");
  if (up != mirrored)
    keys.refuse("up_block_types", Json(mirrored).dump() + ", the mirror image of down_block_types",
                kOthers);
  return flags;
}

void refuse_what_we_lack(JsonKeys& keys) {
  const std::string activation = keys.text("act_fn", "silu");
  if (activation != "silu" && activation != "swish")
    keys.refuse("act_fn", "\"silu\", or \"swish\", which is the same", kOthers);
  keys.require("time_embedding_type", "positional", kOthers);
  keys.require("resnet_time_scale_shift", "default", kOthers);
  keys.require("center_input_sample", false, kOthers);
  keys.require("add_attention", true, kOthers);
  keys.require("mid_block_type", "UNetMidBlock2D", kOthers);
  keys.require("mid_block_scale_factor", 1, kOthers);
  keys.require("downsample_type", "conv", kOthers);
  keys.require("upsample_type", "conv", kOthers);
  keys.require("class_embed_type", nullptr, kOthers);
  keys.ignore({"num_train_timesteps"});  // of time_embedding_type = learned alone
}

int64_t in_channels(JsonKeys& keys) { return keys.integer("in_channels", 3, 1, kWidest); }

// A key whose null has a meaning of its own.
int64_t integer_or_null(JsonKeys& keys, const std::string& key, int64_t otherwise, int64_t null,
                        int64_t high) {
  return keys.is_null(key) ? null : keys.integer(key, otherwise, 1, high);
}

bool says_variance(JsonKeys& keys) {
  const int64_t in = in_channels(keys), out = keys.integer("out_channels", 3, 1, 2 * kWidest);
  if (out == in || out == 2 * in) return out == 2 * in;
  keys.refuse("out_channels",
              std::to_string(in) + ", as in_channels, or " + std::to_string(2 * in) +
                  " where it says its reverse variance too",
              kOthers);
}

void read_sizes(JsonKeys& keys, config::ModelConfig& model) {
  model.unet.channels = keys.integers("block_out_channels", {224, 448, 672, 896}, 1, kWidest);
  if (model.unet.channels.empty() || model.unet.channels.size() > 16)
    keys.refuse("block_out_channels", "1 to 16 levels");
  model.unet.layers_per_block = keys.integer("layers_per_block", 2, 1, 64);
  model.unet.attention = attention_flags(keys, model.unet.channels.size());
  model.unet.attention_head_dim = integer_or_null(keys, "attention_head_dim", 8, 0, kWidest);
  model.unet.norm_groups = keys.integer("norm_num_groups", 32, 1, kWidest);
  if (integer_or_null(keys, "attn_norm_num_groups", model.unet.norm_groups, model.unet.norm_groups,
                      kWidest) != model.unet.norm_groups)
    keys.refuse("attn_norm_num_groups", "null, or norm_num_groups", kOthers);
  const int64_t width = 4 * model.unet.channels.front();
  if (integer_or_null(keys, "time_embedding_dim", width, width, 4 * kWidest) != width)
    keys.refuse("time_embedding_dim", "null, or 4 times the first of block_out_channels", kOthers);
}

}  // namespace

void read_unet2d(JsonKeys& keys, config::Config& config) {
  keys.require("_class_name", "UNet2DModel", kOthers);
  refuse_what_we_lack(keys);
  config::ModelConfig& model = config.model;
  model.type = "unet";
  read_sizes(keys, model);
  model.unet.norm_eps = keys.number("norm_eps", 1e-5, std::numeric_limits<double>::min(), 1);
  model.dropout = keys.number("dropout", 0.0, 0, 0.95);
  model.num_classes = integer_or_null(keys, "num_class_embeds", 0, 0, 1 << 20);
  model.unet.downsample_padding = keys.integer("downsample_padding", 1, 0, 1);
  model.unet.cosines_first = keys.boolean("flip_sin_to_cos", true);
  model.unet.freq_shift = keys.number("freq_shift", 0, 0, 1);
  config.data.labels = model.num_classes > 0;
  if (says_variance(keys)) config.diffusion.loss = "hybrid";
  unet2d_example_shape(keys);
  keys.refuse_unknown("the options of UNet2DModel");
}

std::vector<int64_t> unet2d_example_shape(JsonKeys& keys) {
  const int64_t channels = in_channels(keys);
  if (!keys.has("sample_size"))
    keys.refuse("sample_size", "a whole number or [height, width]",
                "Write there the size of the images that the network was trained on.");
  if (!keys.json().at("sample_size").is_array()) {
    const int64_t size = keys.integer("sample_size", 0, 1, kWidest);
    return {channels, size, size};
  }
  const auto sizes = keys.integers("sample_size", {}, 1, kWidest);
  if (sizes.size() != 2) keys.refuse("sample_size", "a whole number or [height, width]");
  return {channels, sizes[0], sizes[1]};
}

Json unet2d_json(const config::Config& config, const std::vector<int64_t>& shape) {
  const config::ModelConfig& model = config.model;
  Json down = Json::array(), up = Json::array();
  for (size_t i = 0; i < model.unet.channels.size(); ++i) {
    const bool attends = !model.unet.attention.empty() && model.unet.attention[i];
    down.push_back(attends ? "AttnDownBlock2D" : "DownBlock2D");
    up.insert(up.begin(), attends ? "AttnUpBlock2D" : "UpBlock2D");
  }
  Json out;
  out["_class_name"] = "UNet2DModel";
  out["sample_size"] = {shape[1], shape[2]};
  out["in_channels"] = shape[0];
  out["out_channels"] = config.diffusion.loss == "hybrid" ? 2 * shape[0] : shape[0];
  out["block_out_channels"] = model.unet.channels;
  out["layers_per_block"] = model.unet.layers_per_block;
  out["down_block_types"] = down;
  out["up_block_types"] = up;
  out["attention_head_dim"] =
      model.unet.attention_head_dim == 0 ? Json(nullptr) : Json(model.unet.attention_head_dim);
  out["norm_num_groups"] = model.unet.norm_groups;
  out["norm_eps"] = model.unet.norm_eps;
  out["act_fn"] = "silu";
  out["dropout"] = model.dropout;
  out["downsample_padding"] = model.unet.downsample_padding;
  out["time_embedding_type"] = "positional";
  out["flip_sin_to_cos"] = model.unet.cosines_first;
  out["freq_shift"] = model.unet.freq_shift;
  out["num_class_embeds"] =
      model.num_classes == 0 ? Json(nullptr) : Json(model.num_classes + 1);  // and "no label"
  return out;
}

}  // namespace scorenet::score
