// safetensors files: named tensors and a map of strings, in a form that other programs open.
//
// Format (github.com/huggingface/safetensors, "Format"): the header's length as 8 bytes,
// little-endian; a JSON header {"__metadata__": {...}, NAME: {"dtype", "shape",
// "data_offsets": [begin, end]}}; then the bytes, without holes. Here the header is padded
// with spaces to a multiple of 64, and wider types come first, so that every tensor is aligned
// when the file is mapped.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "framework/files/file_layer.hpp"

namespace scorenet::checkpoint {

using TensorMap = std::map<std::string, torch::Tensor>;
using Metadata = std::map<std::string, std::string>;

struct Safetensors {
  TensorMap tensors;  // on the CPU, contiguous
  Metadata metadata;
};

/// Where one tensor's bytes lie, counted from the start of the file.
struct TensorPlace {
  torch::Dtype dtype = torch::kFloat32;
  std::vector<int64_t> shape;
  int64_t begin = 0;
  int64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, TensorPlace> places;
  Metadata metadata;
};

/// Replaces `path` by a file with these tensors: whole or not at all. Any device and layout; types
/// F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL. Names and texts are UTF-8. Throws
/// CheckpointError naming the file, and the tensor where its type or name cannot be stored.
void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const Metadata& metadata = {},
                       files::FileLayer& layer = files::real_files());

/// The bytes of such a file, piece by piece, into `sink`. `path` is for messages.
void serialise_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                           const Metadata& metadata,
                           const std::function<void(std::string_view)>& sink);

/// Checks the header and every size and offset against the file's size, then reads all, and
/// compares with the digests of a file that carries them (digests.hpp). Throws CheckpointError
/// naming file and tensor.
Safetensors read_safetensors(const std::filesystem::path& path);

/// The header alone: cheap, whatever the file's size. Throws as read_safetensors.
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);

}  // namespace scorenet::checkpoint
