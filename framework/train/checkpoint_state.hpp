// The state of a run in a checkpoint: everything a later start needs to go on bit for bit, and
// nothing of the ranks.
//
// model.safetensors, optimizer.safetensors and ema.safetensors hold tensors by parameter name;
// state.json holds the counters and the data set's fingerprint; config.toml the resolved config;
// compression.safetensors, where gradients are compressed, what the way has left out so far, summed
// over the ranks; objective.safetensors, where there is one, the history that times are drawn by.
// Order of data, noise, other times and dropout are functions of (seed, step), so the step is all
// that they need: a run goes on at any rank count.
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
