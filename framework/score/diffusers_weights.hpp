// The weights of a folder that save_pretrained wrote: one safetensors file, several with an index,
// of any variant (fp16, ...).
#pragma once

#include <filesystem>

#include "framework/checkpoint/safetensors.hpp"

namespace scorenet::score {

/// All tensors, as float32, under the names that this program's U-Net has. The file without a
/// variant is taken first, then the one variant there is. Throws CheckpointError where there are
/// none, several variants, pickles alone (.bin), a shard that is missing or holds other tensors
/// than the index says, a tensor that is not of floating point, and NotFiniteError for a weight
/// that is no number.
checkpoint::TensorMap read_diffusers_weights(const std::filesystem::path& folder);

}  // namespace scorenet::score
