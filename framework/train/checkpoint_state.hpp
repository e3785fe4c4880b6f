// The state of a run in a checkpoint: what a later start needs to go on bit for bit, at any number
// of ranks.
//
//     model.safetensors        weights, by parameter name
//     optimizer.safetensors    moments of AdamW
//     ema.safetensors          moving averages of the weights
//     compression.safetensors  the compression error so far, summed over the ranks
//     objective.safetensors    the history of losses that times are drawn by
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
  std::vector<std::string> warnings;  // newer checkpoints that were damaged and passed over
  std::string precision = {};  // what the steps up to there computed in; "": an older version's
  std::vector<std::string> changes = {};  // of this start: "KEY = NEW, was OLD"
};

/// What is being trained.
struct TrainState {
  optim::FlatParameters& parameters;
  Update& update;
  Objective& objective;
  const data::DatasetSummary& data;
};

/// Rank zero writes, the others give it what they alone hold. Collective. Keeps the
/// config.checkpoint.keep newest. Throws CheckpointError on rank zero; older ones are
/// then untouched.
void save_checkpoint(const RunFolder& folder, const config::Config& config, const TrainState& state,
                     const RunProgress& progress, comm::Communicator& comm);

/// Fills `state` on all ranks from what rank zero finds, and returns where the run stands; step 0
/// and untouched weights (rank zero's, on all ranks) if there is no checkpoint. Collective. Throws
/// CheckpointError on rank zero for damage, ConfigError naming old and new value of a key that
/// changed and decides what is being trained, DataError if the data set is another and
/// data.changed = false (checkpoints of older versions do not know theirs).
RunProgress restore_checkpoint(const RunFolder& folder, const config::Config& config,
                               const TrainState& state, comm::Communicator& comm);

}  // namespace scorenet::train
