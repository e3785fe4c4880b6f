#include "framework/train/run_folder.hpp"

#include <cstdio>
#include <system_error>

#include "framework/core/error.hpp"

namespace scorenet::train {

std::string padded_step(int64_t step) {
  char text[32];
  std::snprintf(text, sizeof text, "%07lld", static_cast<long long>(step));
  return text;
}

void RunFolder::create() const {
  for (const auto& folder : {checkpoints(), snapshots(), root_ / "samples", root_ / "eval"}) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) {
      throw CheckpointError(folder.string() + ": cannot be made (" + error.message() +
                            "). Give an --outdir on a disk you may write to.");
    }
  }
}

std::filesystem::path RunFolder::grid(int64_t step, const std::string& weights) const {
  return root_ / "samples" / ("grid-" + weights + padded_step(step) + ".png");
}

std::filesystem::path RunFolder::evaluation(int64_t step) const {
  return root_ / "eval" / ("eval-" + padded_step(step) + ".json");
}

std::filesystem::path RunFolder::snapshot(int64_t step, const std::string& label) const {
  return snapshots() / ("network-" + padded_step(step) + "-" + label + ".safetensors");
}

}  // namespace scorenet::train
