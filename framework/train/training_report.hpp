// What a run reports while it trains: the log's lines and ticks, the timeline, and a rank that
// delays the others.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/comm/make_communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/train/checkpoint_state.hpp"
#include "framework/train/learner.hpp"
#include "framework/train/metrics_log.hpp"
#include "framework/train/run_folder.hpp"
#include "framework/train/tick_meter.hpp"

namespace scorenet::train {

class TrainingReport {
 public:
  /// All arguments must outlive this.
  TrainingReport(const config::Config& config, const RunFolder& folder, Learner& learner,
                 comm::Communicators& comms);

  /// On rank zero: makes the folder, keeps the config, opens the logs and writes `start`,
  /// the start block.
  void open(const RunProgress& progress, const std::string& start);

  /// Rank zero's log once it is open; null elsewhere.
  MetricsLog* log() { return log_ ? &*log_ : nullptr; }
  /// A line of the log; nothing on other ranks.
  void line(const std::string& text);

  /// Runs a step, after which progress.step steps are done. Returns what TrainStep::run returns.
  std::optional<StepReport> measured_step(const data::LoadedBatch& batch, RunProgress& progress,
                                          const Wishes& wishes);
  /// Waits for all steps. Returns what TrainStep::settle returns.
  std::optional<StepReport> settled();
  /// The run has gone back to a step: the logs' lines of later steps are dropped, and so is what
  /// was summed for the next status line.
  void went_back(int64_t step);
  /// Adds time spent between steps on something other than training.
  void add_maintenance(double seconds) { meter_.add_maintenance(seconds); }
  /// Writes a status line about the steps since the last one. total_sec: wall clock of the
  /// whole run. Collective.
  void tick(const RunProgress& progress, double total_sec);

 private:
  void open_log(int64_t step, bool changed);
  void add_straggler(Tick& tick, int64_t step);
  void write_timeline() const;
  /// Images that are still to be trained on.
  double images_left(int64_t step) const;

  const config::Config& config_;
  const RunFolder& folder_;
  Learner& learner_;
  comm::Communicators& comms_;
  int64_t total_steps_;
  bool bar_ = false;
  std::optional<MetricsLog> log_;
  TickMeter meter_;
};

}  // namespace scorenet::train
