// The paths of a run's files: the layout of "A run folder" in launch/README.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace scorenet::train {

class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path root) : root_(std::move(root)) {}

  /// Makes the folder and its parts. Throws CheckpointError naming the folder if it
  /// cannot be written.
  void create() const;

  /// Deletes temporary files that killed writers left in the folder and its parts.
  void clear_temporaries() const;

  std::filesystem::path root() const { return root_; }
  std::filesystem::path config() const { return root_ / "config.toml"; }
  /// The config of a start at `step` whose keys differ from those of config(). attempt: 1, 2, ...
  /// numbers several of them.
  std::filesystem::path changed_config(int64_t step, int attempt) const;
  std::filesystem::path log() const { return root_ / "log.txt"; }
  std::filesystem::path stats() const { return root_ / "stats.jsonl"; }
  std::filesystem::path metrics() const { return root_ / "metrics.csv"; }
  std::filesystem::path checkpoints() const { return root_ / "checkpoints"; }
  /// The statistics of data.transforms, where there are some.
  std::filesystem::path transforms() const { return root_ / "transforms.safetensors"; }
  std::filesystem::path snapshots() const { return root_ / "snapshots"; }
  /// The last collectives of a rank, written when something fails.
  std::filesystem::path flight_record(int rank) const {
    return root_ / ("flight-rank" + std::to_string(rank) + ".jsonl");
  }
  /// The times of a rank's work in the first steps of a start (run.timeline): a Chrome trace.
  std::filesystem::path timeline(int rank) const {
    return root_ / "timeline" / ("rank" + std::to_string(rank) + ".json");
  }
  std::filesystem::path reals() const { return root_ / "samples" / "reals.png"; }
  /// weights: "" for the moving average, "raw-" for the weights being trained.
  std::filesystem::path grid(int64_t step, const std::string& weights) const;
  std::filesystem::path evaluation(int64_t step) const;
  /// label: "ema0.999" or "raw".
  std::filesystem::path snapshot(int64_t step, const std::string& label) const;

 private:
  std::filesystem::path root_;
};

}  // namespace scorenet::train
