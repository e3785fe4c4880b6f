// The weights that a new run starts from: those of train.init, by name.
//
// Weights alone are taken: step count, learning rate, averages and the optimizer's moments begin
// as in any new run, the averages from these weights. A run that has a checkpoint goes on from that
// and does not open train.init again. The digest of the file goes into the config, and with it into
// every checkpoint and snapshot of the run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/comm/communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/score/score_model.hpp"
#include "framework/train/run_folder.hpp"

namespace scorenet::train {

class FirstWeights {
 public:
  /// Reads train.init on rank zero: a snapshot, or the newest one of a run's folder. Sets
  /// config.train.init_digest on all ranks. Nothing to do without train.init. Collective. Throws
  /// CheckpointError for what is no snapshot, a folder with none or with several of the newest
  /// step, and a file whose digest is not the config's.
  FirstWeights(config::Config& config, const RunFolder& folder, comm::Communicator& comm);

  /// `model` with the weights, on all ranks. What the file lacks keeps its value. Collective.
  /// Throws CheckpointError if no name is in both, or for a tensor of another shape; NotFiniteError
  /// for a value that is not finite.
  score::ScoreModel given_to(score::ScoreModel model, comm::Communicator& comm);

  /// For the start block, on rank zero: what was taken, what is new, what is left over, and which
  /// keys say something else of the network than they did there. Lines that end; "" without
  /// train.init.
  std::string lines() const;

 private:
  std::string open(const config::TrainConfig& train);
  void take(score::ScoreModel& model);

  std::string init_;            // train.init
  bool resumed_ = false;        // all ranks: the run has a checkpoint
  std::filesystem::path path_;  // of the snapshot
  checkpoint::Safetensors file_;
  std::string digest_;
  size_t taken_ = 0;
  std::vector<std::string> new_, left_over_, differs_;
};

}  // namespace scorenet::train
