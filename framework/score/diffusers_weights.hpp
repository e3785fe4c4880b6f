// The weights of a folder that save_pretrained wrote: one safetensors file, several with an index,
// of any variant (fp16, ...).
#pragma once

#include <filesystem>

#include "framework/checkpoint/safetensors.hpp"

namespace scorenet::score {

/// All tensors, as float32, under the names of this program's U-Net. The file without a variant is
/// preferred, then the only variant. Throws CheckpointError if there is no file, or only pickles
/// (.bin); if there are several variants; if a shard is missing or holds other tensors than the
/// index says; or if a tensor is not of a floating-point type. Throws NotFiniteError for a weight
/// that is not finite.
checkpoint::TensorMap read_diffusers_weights(const std::filesystem::path& folder);

}  // namespace scorenet::score
