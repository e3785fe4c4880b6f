#include "framework/train/run_folder.hpp"

#include <system_error>

#include "framework/core/error.hpp"
#include "framework/files/step_name.hpp"
#include "framework/files/temporaries.hpp"

namespace scorenet::train {

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

std::filesystem::path RunFolder::changed_config(int64_t step, int attempt) const {
  return root_ / ("config-" + files::step_name(step) +
                  (attempt > 1 ? "-" + std::to_string(attempt) : "") + ".toml");
}

void RunFolder::clear_temporaries() const {
  for (const auto& folder : {root_, checkpoints(), snapshots(), root_ / "samples", root_ / "eval",
                             timeline(0).parent_path()})
    files::remove_dead_temporaries(folder);
}

std::filesystem::path RunFolder::grid(int64_t step, const std::string& weights) const {
  return root_ / "samples" / ("grid-" + weights + files::step_name(step) + ".png");
}

std::filesystem::path RunFolder::evaluation(int64_t step) const {
  return root_ / "eval" / ("eval-" + files::step_name(step) + ".json");
}

std::filesystem::path RunFolder::snapshot(int64_t step, const std::string& label) const {
  return snapshots() / ("network-" + files::step_name(step) + "-" + label + ".safetensors");
}

}  // namespace scorenet::train
