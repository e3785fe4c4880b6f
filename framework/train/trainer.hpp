// The training run: the loop over steps, which saves and resumes. Its parts: Learner (what is
// trained), TrainingReport (log and status lines), HeldOut (evaluations).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "framework/comm/make_communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/core/error.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/files/folder_lock.hpp"
#include "framework/train/checkpoint_state.hpp"
#include "framework/train/first_weights.hpp"
#include "framework/train/held_out.hpp"
#include "framework/train/learner.hpp"
#include "framework/train/run_folder.hpp"
#include "framework/train/saver.hpp"
#include "framework/train/training_report.hpp"

namespace scorenet::train {

class Trainer {
 public:
  /// Opens the data, builds the network, compares both over the ranks, and loads the newest intact
  /// checkpoint of `outdir`, if there is one. `lock`: rank zero's lock on `outdir`, or null.
  /// Collective. Throws ConfigError, DataError, CheckpointError, CommError.
  Trainer(const config::Config& config, const std::filesystem::path& outdir,
          comm::Communicators& comms, torch::Device device, files::FolderLock* lock = nullptr);

  /// The text that --dry-run prints and that begins a log. On rank zero.
  std::string start_block() const;

  /// Trains to the end (done) or until a stop signal on any rank (requeue, state saved).
  /// Collective. Throws NotFiniteError.
  ExitCode run();

 private:
  struct Data {
    data::ImageDataset dataset;
    data::DatasetSummary summary = dataset.summary();
  };

  void take_up();
  void draw_reals();
  void train();
  void to_network_values(data::LoadedBatch& loaded) const;
  void augment(data::LoadedBatch& loaded) const;
  void train_on();
  void take_step(const data::LoadedBatch& batch);
  Wishes wishes() const;
  void heed(const std::optional<StepReport>& report);
  bool anything_is_due() const;
  void handle_trouble(const StepReport& report);
  void give_up_on_trouble(const std::string& sentence, bool finite);
  bool may_go_back() const;
  void go_back();
  bool save_is_due() const;
  RunProgress progress_now() const;
  void save();
  void complete_last_step();
  void complete_snapshots(const std::vector<int64_t>& missing);
  std::vector<int64_t> missing_of_last_step();
  bool evaluation_is_due() const;
  void evaluate();
  void check_weights_equal();
  void set_phase(comm::Phase phase);  // of all communicators: the time limits follow it
  bool is_due(int64_t every) const;
  bool at_end() const;
  double wall_seconds() const;

  config::Config config_;  // complete once the data are open
  const RunFolder folder_;
  files::FolderLock* lock_;
  comm::Communicators& comms_;
  Data data_;
  FirstWeights first_weights_;
  Learner learner_;
  TrainingReport report_;
  std::optional<HeldOut> held_out_;  // where the config asks for evaluations
  RunProgress progress_;             // total_sec: before this start
  Saver saver_;
  int64_t saved_step_ = -1;  // of this start
  comm::Clock::time_point saved_at_ = comm::Clock::now();
  bool save_asked_ = false;  // by rank zero's clock
  int64_t skipped_in_a_row_ = 0;
  std::string back_because_;  // why the run goes back; "": it does not
  int64_t back_to_ = -1;      // the step it went back to last
  int64_t times_back_ = 0;    // to that one
  bool stop_asked_ = false;
  const comm::Clock::time_point started_ = comm::Clock::now();
};

}  // namespace scorenet::train
