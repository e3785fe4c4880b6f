// The list of a checkpoint's files with sizes and checksums (XXH3, 64 bit), itself checksummed.
// It is written last: a folder with a valid manifest is a whole checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace scorenet::checkpoint {

/// 16 hexadecimal digits (core/digest.hpp).
std::string checksum(std::string_view bytes);

struct FileRecord {
  int64_t bytes = 0;
  std::string checksum;
  // tensor name -> checksum of its bytes; empty for other files
  std::map<std::string, std::string> tensors;
};

struct Manifest {
  int64_t step = 0;
  std::map<std::string, FileRecord> files;
};

inline constexpr const char* kManifestName = "manifest.json";

std::string manifest_text(const Manifest& manifest);
/// Throws CheckpointError naming `path` unless the text is one of manifest_text, unchanged.
Manifest parse_manifest(const std::string& text, const std::filesystem::path& path);

/// Reads every file of a checkpoint folder and compares. Throws CheckpointError naming the file,
/// and the tensor where one differs.
Manifest verify_folder(const std::filesystem::path& folder);

}  // namespace scorenet::checkpoint
