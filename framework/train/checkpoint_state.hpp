// The state of a run in a checkpoint. With it a later start continues bit for bit, on any number of
// ranks.
//
//     model.safetensors        weights, by parameter name
//     optimizer.safetensors    moments of AdamW
//     ema.safetensors          moving averages of the weights
//     compression.safetensors  the compression error so far, summed over the ranks
//     objective.safetensors    the history of losses from which times are drawn
//     spikes.safetensors       the recent losses and gradient norms (spike_law.hpp)
//     state.json               counters, and the fingerprint of the data set
//     config.toml              the resolved config
//
// Compression and objective exist only where the config asks for them. The order of data, noise,
// other times and dropout are functions of (seed, redraw, step) and need no state.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/comm/communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/optim/flat_parameters.hpp"
#include "framework/train/objective.hpp"
#include "framework/train/run_folder.hpp"
#include "framework/train/spike_law.hpp"
#include "framework/train/update.hpp"

namespace scorenet::train {

struct RunProgress {
  int64_t step = 0;
  int64_t skipped = 0;
  double total_sec = 0;
  std::vector<std::string> warnings;      // newer checkpoints that were damaged and passed over
  std::string precision = {};             // of the steps so far; "": from an older version
  std::vector<std::string> changes = {};  // of this start: "KEY = NEW, was OLD"
  int64_t redraw = 0;                     // config::TrainConfig::redraw
};

/// What is being trained.
struct TrainState {
  optim::FlatParameters& parameters;
  Update& update;
  Objective& objective;
  SpikeLaw& spikes;
  const data::DatasetSummary& data;
};

/// The weights, and every buffer of the update that has their layout.
std::vector<StateBuffer> buffers_of(const TrainState& state);
/// What has another shape: of the update, the objective's history, the recent losses.
std::vector<StateTensor> tensors_of(const TrainState& state);

/// A checkpoint's files by name, apart from the tensors.
using CheckpointTexts = std::vector<std::pair<std::string, std::string>>;
CheckpointTexts texts_of(const config::Config& config, const TrainState& state,
                         const RunProgress& progress);

/// Writes a checkpoint into ROOT and keeps the `keep` newest there. before_commit may throw: then
/// nothing is published. Throws CheckpointError; older checkpoints are then untouched. Returns
/// sentences about older ones that could not be removed.
struct CheckpointContent {
  int64_t step = 0;
  std::map<std::string, checkpoint::TensorMap> tensors = {};  // by file
  CheckpointTexts texts = {};
};
std::vector<std::string> write_checkpoint(const std::filesystem::path& root,
                                          const CheckpointContent& content, int64_t keep,
                                          const std::function<void()>& before_commit,
                                          files::FileLayer& layer = files::real_files());

/// The same at once, straight from the state: rank zero writes; the other ranks send it the parts
/// that only they hold. Collective, also where rank zero throws. Keeps the config.checkpoint.keep
/// newest.
std::vector<std::string> save_checkpoint(const std::filesystem::path& root,
                                         const config::Config& config, const TrainState& state,
                                         const RunProgress& progress, comm::Communicator& comm);

/// Fills `state` on all ranks from the checkpoint that rank zero finds, and returns the run's
/// progress. Where the folder has no intact checkpoint and checkpoint.replica has one of this run,
/// from there, with a warning. Without a checkpoint: step 0, and rank zero's weights on all ranks.
/// Collective. Throws
/// CheckpointError on rank zero for damage. Throws ConfigError, naming old and new value, if a key
/// has changed that decides what is trained. Throws DataError if the data set has changed and
/// data.changed = false (checkpoints of older versions do not record theirs).
RunProgress restore_checkpoint(const RunFolder& folder, const config::Config& config,
                               const TrainState& state, comm::Communicator& comm);

}  // namespace scorenet::train
