// A long draw of samples in parts, each a file of its own beside the output: whoever is killed goes
// on where it was, and ranks write at once.
//
// OUT.parts/part-0000012.safetensors holds consecutive samples under "samples", with digests, and
// the draw's key in its metadata: a part of another draw, or a damaged one, is drawn again.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "framework/data/shard.hpp"

namespace scorenet::launch {

class DrawnParts {
 public:
  /// key: all that the samples depend on. rows: of each part but the last.
  DrawnParts(std::filesystem::path folder, std::string key, int64_t samples, int64_t rows)
      : folder_(std::move(folder)), key_(std::move(key)), samples_(samples), rows_(rows) {}

  int64_t count() const { return (samples_ + rows_ - 1) / rows_; }
  /// The samples of a part.
  data::Range range(int64_t part) const;
  const std::filesystem::path& folder() const { return folder_; }

  /// Whether the part is there, of this draw. Looks at its header alone.
  bool has(int64_t part) const;
  /// x: (range(part).size(), ...). Throws CheckpointError.
  void write(int64_t part, const torch::Tensor& x) const;
  /// Throws CheckpointError where it is damaged; it is removed then, and the next start draws it.
  torch::Tensor read(int64_t part) const;
  /// Removes all parts.
  void remove() const;

 private:
  std::filesystem::path path(int64_t part) const;

  std::filesystem::path folder_;
  std::string key_;
  int64_t samples_, rows_;
};

}  // namespace scorenet::launch
