// The state of a run in a checkpoint. With it a later start continues bit for bit, on any number of
// ranks.
//
//     model.safetensors        weights, by parameter name
//     optimizer.safetensors    moments of AdamW
//     ema.safetensors          moving averages of the weights
//     compression.safetensors  the compression error so far, summed over the ranks
//     objective.safetensors    the history of losses from which times are drawn
//     state.json               counters, and the fingerprint of the data set
//     config.toml              the resolved config
//
// Compression and objective exist only where the config asks for them. The order of data, noise,
// other times and dropout are functions of (seed, step) and need no state.
#pragma once

#include <string>
#include <vector>

#include "framework/comm/communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/optim/flat_parameters.hpp"
#include "framework/train/objective.hpp"
#include "framework/train/run_folder.hpp"
#include "framework/train/update.hpp"

namespace scorenet::train {

struct RunProgress {
  int64_t step = 0;
  int64_t skipped = 0;
  double total_sec = 0;
  std::vector<std::string> warnings;      // newer checkpoints that were damaged and passed over
  std::string precision = {};             // of the steps so far; "": from an older version
  std::vector<std::string> changes = {};  // of this start: "KEY = NEW, was OLD"
};

/// What is being trained.
struct TrainState {
  optim::FlatParameters& parameters;
  Update& update;
  Objective& objective;
  const data::DatasetSummary& data;
};

/// Rank zero writes; the other ranks send it the parts that only they hold. Collective. Keeps the
/// config.checkpoint.keep newest checkpoints. Throws CheckpointError on rank zero; older
/// checkpoints are then untouched.
void save_checkpoint(const RunFolder& folder, const config::Config& config, const TrainState& state,
                     const RunProgress& progress, comm::Communicator& comm);

/// Fills `state` on all ranks from the checkpoint that rank zero finds, and returns the run's
/// progress. Without a checkpoint: step 0, and rank zero's weights on all ranks. Collective. Throws
/// CheckpointError on rank zero for damage. Throws ConfigError, naming old and new value, if a key
/// has changed that decides what is trained. Throws DataError if the data set has changed and
/// data.changed = false (checkpoints of older versions do not record theirs).
RunProgress restore_checkpoint(const RunFolder& folder, const config::Config& config,
                               const TrainState& state, comm::Communicator& comm);

}  // namespace scorenet::train
