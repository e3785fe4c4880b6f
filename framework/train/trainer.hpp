// The training run: composes data, model, step, checkpoints, evaluation and logs. The parts explain themselves.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "framework/comm/make_communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/core/error.hpp"
#include "framework/data/batch_loader.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/files/folder_lock.hpp"
#include "framework/train/checkpoint_state.hpp"
#include "framework/train/metrics_log.hpp"
#include "framework/train/run_folder.hpp"
#include "framework/train/tick_meter.hpp"
#include "framework/train/train_step.hpp"

namespace scorenet::train {

class Trainer {
 public:
  /// Opens the data, builds the network, compares all of it over the ranks, and takes up the newest intact checkpoint of
  /// `outdir`, if there is one. `lock`: rank zero's on `outdir`, or null. Collective. Throws ConfigError, DataError, CheckpointError, CommError.
  Trainer(const config::Config& config, const std::filesystem::path& outdir,
          comm::Communicators& comms, torch::Device device, files::FolderLock* lock = nullptr);

  /// What --dry-run prints, and what stands at the head of a log. Rank zero's view.
  std::string start_block() const;

  /// Trains to the end (done) or until a stop signal on any rank (requeue, state saved). Collective. Throws NotFiniteError.
  ExitCode run();

 private:
  void open_held_out();
  void resume();
  std::string precision_line() const;
  ScoreModel evaluated_model() const;
  void start_logs();
  void take_step();
  void handle_trouble(const StepReport& report);
  void give_up_on_trouble(const std::string& sentence);
  void report_tick();
  void report_straggler(Tick& tick);
  void write_timeline();
  void save();
  void save_average(size_t profile, const std::string& precision);
  std::filesystem::path snapshot_path(size_t profile) const;
  void complete_last_step();
  bool evaluation_is_due() const;
  bool evaluation_is_whole() const;
  bool draws_grids() const;
  void save_where_due(bool last);
  void evaluate();
  void stop_after_given_up_evaluation();
  bool tells_all(bool mine, std::string_view tag);
  void evaluate_weights(const std::string& weights, bool on_all_ranks);
  void evaluate_classifier(comm::Communicator& comm);
  void check_weights_equal();
  void set_phase(comm::Phase phase);  // of all communicators: the time limits follow it
  bool is_due(int64_t every) const;
  double wall_seconds() const;

  config::Config config_;
  RunFolder folder_;
  files::FolderLock* lock_;
  comm::Communicators& comms_;
  comm::Communicator& comm_;  // host memory: control, start, evaluation
  int64_t total_steps_;
  data::ImageDataset dataset_;
  data::DatasetSummary data_;  // of dataset_
  std::unique_ptr<data::ImageDataset> held_out_;  // null: no evaluation
  ScoreModel model_;
  GradientPlan plan_;
  FlatParameters parameters_;
  Objective objective_;
  Update update_;
  TrainStep step_;
  RunProgress progress_;  // total_sec: before this start
  int64_t skipped_in_a_row_ = 0;
  bool stop_asked_ = false;
  std::optional<MetricsLog> log_;  // rank zero
  std::unique_ptr<data::BatchLoader> loader_;
  TickMeter meter_;
  comm::Clock::time_point started_ = comm::Clock::now();
};

}  // namespace scorenet::train
