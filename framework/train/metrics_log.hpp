// The output of a run while it trains: log.txt, stats.jsonl, metrics.csv, status lines and a
// progress bar. Rank zero only.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "framework/train/run_folder.hpp"
#include "framework/train/tensorboard_log.hpp"

namespace scorenet::train {

/// Equal intervals of the schedule's log-SNR range, cleanest first, in which losses are counted:
/// some for each of the four quarters.
inline constexpr int64_t kLevelBins = 20;

/// One status line: sums and means since the last one.
struct Tick {
  int64_t step = 0;
  double kimg = 0;  // thousands of images so far
  double loss = 0;  // mean over the tick's images, nats per dimension as weighted by diffusion.loss
  double loss_quartile[4] =
      {};  // the same over each quarter of log-SNR, cleanest first; NaN if none fell there
  double loss_by_level[kLevelBins] = {};        // over each bin of log-SNR; NaN if none fell there
  double log_snr_clean = 0, log_snr_noisy = 0;  // where the bins begin and end
  double grad_norm = 0;                         // before clipping, mean over the tick's steps
  double learning_rate = 0;
  double images_per_sec = 0;  // all ranks together
  double sec_per_kimg = 0;
  double sec_per_tick = 0;
  double maintenance_sec = 0;    // checkpoints, evaluation and logging since the last tick
  double data_wait_frac = 0;     // of the step time, mean over ranks
  double comm_exposed_frac = 0;  // of the step time, mean over ranks
  // rank zero's mean seconds a step in each phase
  std::vector<std::pair<std::string, double>> phase_sec;
  int straggler_rank = -1;  // -1: the ranks are balanced
  std::string straggler_phase;
  double straggler_sec = 0;         // that rank's, a step
  double straggler_median_sec = 0;  // of all ranks
  int64_t skipped = 0;              // steps left out so far: not finite, or a spike
  double cpu_mem_gb = 0;            // rank zero, resident
  double gpu_mem_gb = 0;            // rank zero, peak
  double total_sec = 0;             // wall clock of the whole run, over restarts
  double eta_sec = 0;
};

/// The JSON object of a tick, as it stands in stats.jsonl (launch/README.md, "A run folder").
nlohmann::ordered_json to_json(const Tick& tick);

/// One line of "name: meaning" for each field, for `scorenet info log-fields`.
std::string log_field_legend();

/// "1h 02m 03s".
std::string duration_text(double seconds);

class MetricsLog {
 public:
  /// Opens the files for appending. After a restart from `resumed_step`, lines of later steps
  /// are removed from stats.jsonl and metrics.csv, so that each step stands there once. bar:
  /// draw a progress bar on stderr. This and all functions below throw CheckpointError naming
  /// the file that cannot be written. A terminal or pipe that is gone is no error, as log.txt
  /// has the same lines.
  MetricsLog(const RunFolder& folder, int64_t resumed_step, int64_t total_steps, bool bar);

  /// To the terminal and log.txt.
  void line(const std::string& text);
  void tick(const Tick& tick);
  /// Named numbers of a step's evaluation: metrics.csv (step,name,value).
  void metric(int64_t step, const std::string& name, double value);
  /// Whether metrics.csv has numbers of this step that no tick writes.
  bool has_evaluation(int64_t step) const;
  /// Drops them, before the step is evaluated again.
  void forget_evaluation(int64_t step);
  /// A grid of samples of the evaluation under way, once its file is there.
  void grid(const std::filesystem::path& path, const std::string& weights);
  /// All of this step's evaluation has been told.
  void evaluation_is_whole(int64_t step);

  /// From here on all but the lines goes to TensorBoard too. Arguments as TensorBoardLog's.
  void open_tensorboard(const RunFolder& folder, int64_t resumed_step, const std::string& config,
                        bool changed);

  /// Between ticks: redraws the bar, if there is one.
  void progress(int64_t step, double images_per_sec, double loss, double eta_sec);

 private:
  void clear_bar();
  void check_written() const;
  void write_metric(int64_t step, const std::string& name, double value);

  std::array<std::filesystem::path, 3> paths_;  // of the three below
  std::ofstream log_, stats_, metrics_;
  std::optional<TensorBoardLog> tensorboard_;
  int64_t total_steps_;
  bool bar_;
  bool bar_drawn_ = false;
  std::chrono::steady_clock::time_point last_drawn_{};
};

/// Resident memory of this process, GB (10^9 bytes).
double resident_memory_gb();

}  // namespace scorenet::train
