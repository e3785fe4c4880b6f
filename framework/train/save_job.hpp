// What the writer of a save does: the checkpoint, the snapshots of the averages, the replica, and
// what is old removed. It has copies of all that it writes, so it may run beside training and
// outlive the Saver.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "framework/checkpoint/checkpoint_store.hpp"
#include "framework/checkpoint/safetensors.hpp"
#include "framework/config/config.hpp"
#include "framework/files/file_layer.hpp"
#include "framework/train/checkpoint_state.hpp"
#include "framework/train/host_copy.hpp"
#include "framework/train/run_folder.hpp"

namespace scorenet::train {

/// What became of a save.
struct SaveOutcome {
  std::vector<std::string> problems;   // old files that could not be removed; read after its end
  std::atomic<bool> given_up = false;  // nobody waits for the writer any more: it writes nothing
};

struct SaveJob {
  /// The weights of one average.
  struct Snapshot {
    std::filesystem::path path;
    std::string prefix;             // of its tensors in ema.safetensors
    checkpoint::TensorMap tensors;  // for finish_from: those beside the average
    checkpoint::Metadata metadata;
  };

  RunFolder folder;
  config::CheckpointConfig config;
  bool to_replica = false;
  CheckpointContent content;
  std::vector<Snapshot> snapshots = {};
  std::shared_ptr<c10::Event> arrived;  // the copy is complete; null: it is
  std::function<void()> check;          // throws if this job must write no more
  files::FileLayer* layer = nullptr;    // of the checkpoints
  std::shared_ptr<SaveOutcome> outcome;

  /// Writes all of it. Throws CheckpointError.
  void write() const;
  /// The same after a checkpoint that the ranks have written in parts: only here are the averages
  /// together. Of `content` only the step counts. Throws CheckpointError.
  void finish_from(const checkpoint::CheckpointReader& written) const;
  /// Throws if the save was given up, or as `check`.
  void check_own() const;

 private:
  void note(const std::vector<std::string>& more) const;
};

/// Removes old snapshots and temporary files after a save at `step`. Returns a sentence for each
/// file that could not be removed.
std::vector<std::string> clear_folder(const RunFolder& folder,
                                      const config::CheckpointConfig& config, int64_t step);

}  // namespace scorenet::train
