#include "framework/score/diffusers_network.hpp"

#include <algorithm>
#include <limits>
#include <optional>

#include "framework/core/error.hpp"

namespace scorenet::score {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kWidest = 1 << 16;  // channels, pixels of a side
constexpr char kOthers[] = "Other networks cannot be converted.";

// What a level of a UNet2DModel is, on its way down or up.
struct BlockKind {
  const char* name;
  bool attends;
  bool resamples_in_block;  // else as downsample_type or upsample_type says, if it attends
};
constexpr BlockKind kDown[] = {{"DownBlock2D", false, false},
                               {"AttnDownBlock2D", true, false},
                               {"ResnetDownsampleBlock2D", false, true}};
constexpr BlockKind kUp[] = {{"UpBlock2D", false, false},
                             {"AttnUpBlock2D", true, false},
                             {"ResnetUpsampleBlock2D", false, true}};

// Why the other blocks of diffusers are not taken. Parts of names, the more special first.
struct OtherBlock {
  const char* part;
  const char* what;
};
constexpr OtherBlock kOtherBlocks[] = {
    {"CrossAttn", "attends to a text or another sequence, which this program does not have"},
    {"Skip", "is NCSN++'s: smoothed resampling and a pyramid of the image beside it"},
    {"Encoder", "belongs to an autoencoder"},
    {"Decoder", "belongs to an autoencoder"},
    {"K", "is the k-upscaler's, with norms that the noise level scales in another way"}};

// "level 2 is SkipDownBlock2D, which is ...".
std::string other_block(size_t place, const std::string& name) {
  std::string text = "Block " + std::to_string(place + 1) + ", " + name + ", ";
  for (const OtherBlock& other : kOtherBlocks)
    if (name.find(other.part) != std::string::npos) return text + other.what + ". " + kOthers;
  return text + "is none that this program has. " + kOthers;
}

// Whether the resampling of the attending blocks is a residual block.
bool resamples_in_block(JsonKeys& keys, const std::string& key) {
  const std::string type = keys.is_null(key) ? "conv" : keys.text(key, "conv");
  if (type == "conv" || type == "resnet") return type == "resnet";
  keys.refuse(key, "\"conv\" or \"resnet\"", kOthers);
}

std::vector<BlockKind> blocks_of(JsonKeys& keys, const std::string& way, size_t levels,
                                 const std::vector<std::string>& otherwise) {
  const bool down = way == "down";
  const std::string key = way + "_block_types";
  const bool attending = resamples_in_block(keys, way + "sample_type");
  const auto names = keys.texts(key, otherwise);
  std::vector<BlockKind> blocks;
  for (size_t i = 0; i < names.size(); ++i) {
    const auto& kinds = down ? kDown : kUp;
    const auto kind = std::find_if(std::begin(kinds), std::end(kinds),
                                   [&](const BlockKind& k) { return names[i] == k.name; });
    if (kind == std::end(kinds)) {
      keys.refuse(key,
                  std::string(kinds[0].name) + ", " + kinds[1].name + " or " + kinds[2].name +
                      " for each level",
                  other_block(i, names[i]));
    }
    blocks.push_back(*kind);
    if (kind->attends) blocks.back().resamples_in_block = attending;
  }
  if (blocks.size() == levels) return blocks;
  keys.refuse(key,
              "one for each of the " + std::to_string(levels) + " numbers of block_out_channels");
}

// The way up must mirror the way down.
void read_blocks(JsonKeys& keys, models::UNetOptions& unet) {
  const size_t levels = unet.channels.size();
  const auto down =
      blocks_of(keys, "down", levels,
                {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"});
  auto up = blocks_of(keys, "up", levels,
                      {"AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"});
  std::reverse(up.begin(), up.end());
  const std::string mirror =
      "the mirror image of down_block_types: level by level the same attention and resampling";
  unet.attention.assign(levels, false);
  unet.residual_resampling.assign(levels, false);
  for (size_t i = 0; i < levels; ++i) {
    // The last level has nothing to halve, the first nothing to double.
    const bool halves = i + 1 < levels, doubles = i > 0;
    if (down[i].attends != up[i].attends ||
        (halves && doubles && down[i].resamples_in_block != up[i].resamples_in_block))
      keys.refuse("up_block_types", mirror, kOthers);
    unet.attention[i] = down[i].attends;
    unet.residual_resampling[i] =
        (halves && down[i].resamples_in_block) || (doubles && up[i].resamples_in_block);
  }
  const auto& flags = unet.residual_resampling;
  if (std::find(flags.begin(), flags.end(), true) == flags.end()) unet.residual_resampling.clear();
}

// The norm of the middle's attention: with scale_shift it has none unless one is asked for.
void read_middle(JsonKeys& keys, models::UNetOptions& unet) {
  unet.mid_attention = keys.boolean("add_attention", true);
  const bool asked = keys.has("attn_norm_num_groups");
  const int64_t groups = keys.is_null("attn_norm_num_groups")
                             ? 0
                             : keys.integer("attn_norm_num_groups", unet.norm_groups, 1, kWidest);
  if (asked) unet.mid_norm_groups = groups == unet.norm_groups ? -1 : groups;
  if (!asked) unet.mid_norm_groups = unet.scale_shift ? 0 : -1;
}

void refuse_what_we_lack(JsonKeys& keys) {
  const std::string activation = keys.text("act_fn", "silu");
  if (activation != "silu" && activation != "swish")
    keys.refuse("act_fn", "\"silu\", or \"swish\", which is the same", kOthers);
  keys.require("time_embedding_type", "positional", kOthers);
  keys.require("center_input_sample", false, kOthers);
  keys.require("mid_block_type", "UNetMidBlock2D", kOthers);
  keys.require("mid_block_scale_factor", 1, kOthers);
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
  read_blocks(keys, model.unet);
  model.unet.attention_head_dim = integer_or_null(keys, "attention_head_dim", 8, 0, kWidest);
  model.unet.norm_groups = keys.integer("norm_num_groups", 32, 1, kWidest);
  const std::string shift = keys.text("resnet_time_scale_shift", "default");
  if (shift != "default" && shift != "scale_shift")
    keys.refuse("resnet_time_scale_shift", "\"default\" or \"scale_shift\"", kOthers);
  model.unet.scale_shift = shift == "scale_shift";
  read_middle(keys, model.unet);
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

namespace {

// UNet2DModel says it once for all levels that attend. Those without attention have it in their
// names.
bool attending_resample_in_block(const models::UNetOptions& unet) {
  std::optional<bool> all;
  for (size_t i = 0; i < unet.channels.size(); ++i) {
    if (unet.attention.empty() || !unet.attention[i] || unet.channels.size() == 1) continue;
    const bool in_block = !unet.residual_resampling.empty() && unet.residual_resampling[i];
    if (all.value_or(in_block) != in_block) {
      throw CheckpointError(
          "model.residual_resampling: differs between levels with attention, and a UNet2DModel has "
          "one downsample_type for all of them. Convert another snapshot.");
    }
    all = in_block;
  }
  return all.value_or(false);
}

Json middle_norm(const models::UNetOptions& unet) {
  const int64_t ours = unet.mid_norm_groups < 0 ? unet.norm_groups : unet.mid_norm_groups;
  const int64_t theirs = unet.scale_shift ? 0 : unet.norm_groups;  // where they are told nothing
  if (ours == theirs || !unet.mid_attention) return nullptr;
  if (ours > 0) return ours;
  throw CheckpointError(
      "model.mid_norm_groups = 0: a UNet2DModel without scale_shift always has that norm. Convert "
      "another snapshot.");
}

void write_blocks(const models::UNetOptions& unet, Json& out) {
  Json down = Json::array(), up = Json::array();
  for (size_t i = 0; i < unet.channels.size(); ++i) {
    const bool attends = !unet.attention.empty() && unet.attention[i];
    const bool in_block = !unet.residual_resampling.empty() && unet.residual_resampling[i];
    const size_t kind = attends ? 1 : in_block ? 2 : 0;
    down.push_back(kDown[kind].name);
    up.insert(up.begin(), kUp[kind].name);
  }
  const char* type = attending_resample_in_block(unet) ? "resnet" : "conv";
  out["down_block_types"] = down;
  out["up_block_types"] = up;
  out["downsample_type"] = type;
  out["upsample_type"] = type;
}

}  // namespace

Json unet2d_json(const config::Config& config, const std::vector<int64_t>& shape) {
  const config::ModelConfig& model = config.model;
  Json out;
  out["_class_name"] = "UNet2DModel";
  out["sample_size"] = {shape[1], shape[2]};
  out["in_channels"] = shape[0];
  out["out_channels"] = config.diffusion.loss == "hybrid" ? 2 * shape[0] : shape[0];
  out["block_out_channels"] = model.unet.channels;
  out["layers_per_block"] = model.unet.layers_per_block;
  write_blocks(model.unet, out);
  out["resnet_time_scale_shift"] = model.unet.scale_shift ? "scale_shift" : "default";
  out["add_attention"] = model.unet.mid_attention;
  out["attn_norm_num_groups"] = middle_norm(model.unet);
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
