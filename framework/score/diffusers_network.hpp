// The config.json of a UNet2DModel, both ways.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/score/json_keys.hpp"

namespace scorenet::score {

/// Fills config.model. For a network that also predicts the reverse variance
/// (out_channels twice in_channels) it sets config.diffusion.loss = "hybrid". Throws
/// ConfigError naming file, key, what was found and what is expected for a network that this
/// program does not have.
void read_unet2d(JsonKeys& keys, config::Config& config);

/// (channels, height, width). Throws as above, also where sample_size is null.
std::vector<int64_t> unet2d_example_shape(JsonKeys& keys);

/// The config.json from which from_pretrained builds this network.
nlohmann::ordered_json unet2d_json(const config::Config& config,
                                   const std::vector<int64_t>& example_shape);

}  // namespace scorenet::score
