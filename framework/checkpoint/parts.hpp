// A file of a checkpoint in parts, each written by the process that holds its values.
//
//   optimizer.part-0001-of-0004.safetensors     pieces of tensors: "NAME@BEGIN" holds elements from
//                                               BEGIN on, row-major; the metadata give NAME's shape
//
// Pieces do not depend on where their writers kept them, so any number of ranks reads what any
// other number has written. A part's size and checksums go to the process that writes the manifest
// through a small file beside it, which that process takes away.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/checkpoint/manifest.hpp"
#include "framework/checkpoint/safetensors.hpp"

namespace scorenet::checkpoint {

/// Elements [begin, begin + values.numel()) of a tensor.
struct TensorPiece {
  std::string name;
  std::vector<int64_t> shape;  // of the whole tensor
  int64_t begin = 0;
  torch::Tensor values;  // (n), CPU
};

/// "optimizer.safetensors", 1, 4 -> the name above.
std::string part_name(const std::string& file, int rank, int size);
bool is_part_of(const std::string& name, const std::string& file);

/// Writes a part and the file with its record into `folder`, both synced. Throws CheckpointError.
void write_part(const std::filesystem::path& folder, const std::string& part,
                const std::vector<TensorPiece>& pieces,
                files::FileLayer& layer = files::real_files());
/// The record of a part; its file is removed. Throws CheckpointError if it is not there.
FileRecord take_record(const std::filesystem::path& folder, const std::string& part);

/// Joins the pieces of parts to whole tensors. Throws CheckpointError naming `path` and the tensor
/// of which elements are missing or come twice.
TensorMap join_parts(const std::vector<Safetensors>& parts, const std::filesystem::path& path);

}  // namespace scorenet::checkpoint
