// Sums over the steps since the last status line, and the time that they took.
#pragma once

#include "framework/comm/deadline.hpp"
#include "framework/train/metrics_log.hpp"
#include "framework/train/train_step.hpp"

namespace scorenet::train {

class TickMeter {
 public:
  /// batch_size: images a step, all ranks.
  explicit TickMeter(int64_t batch_size) : batch_size_(batch_size) {}

  void add(const StepReport& report);
  /// Seconds spent on something other than training: evaluation, checkpoints.
  void add_maintenance(double seconds) { maintenance_ += seconds; }
  /// Images a second since the last reset, without maintenance.
  double images_per_sec() const;
  double mean_loss() const;
  /// The fields of the tick that this class knows. Then everything starts from zero.
  Tick take();

 private:
  double seconds() const;
  /// Of the examples in these bins of log-SNR; NaN if there were none.
  double mean_of_levels(int64_t begin, int64_t end) const;

  int64_t batch_size_;
  comm::Clock::time_point start_ = comm::Clock::now();
  double maintenance_ = 0;
  int64_t steps_ = 0;
  int64_t counted_ = 0;  // steps that were not skipped
  double loss_ = 0, grad_norm_ = 0, data_wait_ = 0, comm_exposed_ = 0, learning_rate_ = 0;
  double level_loss_[kLevelBins] = {}, level_count_[kLevelBins] = {};
};

}  // namespace scorenet::train
