// Digests of a safetensors file's own bytes: two more texts in its metadata. Other programs can
// still open the file.
//
// "scorenet.tensor_digests": a JSON object, tensor name -> XXH3 (128 bit, hexadecimal) of the
// tensor's bytes in the file. "scorenet.digest": XXH3 (128 bit) of all other metadata, and of each
// tensor's name, type and shape. Files without both (written before, or by other programs) are read
// without a check.
#pragma once

#include <filesystem>

#include "framework/checkpoint/safetensors.hpp"

namespace scorenet::checkpoint {

/// `metadata` with the digests of `tensors` and of itself; digests that it had are replaced.
Metadata with_digests(const TensorMap& tensors, const Metadata& metadata);

bool has_digests(const Metadata& metadata);

/// Compares metadata, names, types and shapes with their digest. Throws CheckpointError naming
/// `path` if they differ, or if a digest or a part of them is missing.
void verify_header(const SafetensorsHeader& header, const std::filesystem::path& path);

/// Compares each tensor's bytes. `file` has passed verify_header. Throws CheckpointError naming
/// `path` and the tensor.
void verify_tensors(const Safetensors& file, const std::filesystem::path& path);

}  // namespace scorenet::checkpoint
