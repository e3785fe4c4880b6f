#include "framework/train/tick_meter.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace scorenet::train {

void TickMeter::add(const StepReport& report) {
  ++steps_;
  data_wait_ += report.data_wait_seconds;
  comm_exposed_ += report.comm_exposed_seconds;
  learning_rate_ = report.learning_rate;
  if (report.skipped) return;
  ++counted_;
  loss_ += report.loss;
  grad_norm_ += report.grad_norm;
  for (int64_t bin = 0; bin < kLevelBins; ++bin) {
    level_loss_[bin] += report.level_loss[bin];
    level_count_[bin] += report.level_count[bin];
  }
}

double TickMeter::seconds() const {
  return std::max(comm::seconds_since(start_) - maintenance_, 1e-9);
}

double TickMeter::images_per_sec() const {
  return static_cast<double>(steps_ * batch_size_) / seconds();
}

double TickMeter::mean_loss() const {
  return counted_ ? loss_ / static_cast<double>(counted_) : std::nan("");
}

double TickMeter::mean_of_levels(int64_t begin, int64_t end) const {
  const double loss = std::accumulate(level_loss_ + begin, level_loss_ + end, 0.0);
  const double count = std::accumulate(level_count_ + begin, level_count_ + end, 0.0);
  return count > 0 ? loss / count : std::nan("");
}

Tick TickMeter::take() {
  Tick t;
  t.loss = mean_loss();
  t.grad_norm = counted_ ? grad_norm_ / static_cast<double>(counted_) : std::nan("");
  constexpr int64_t kInQuarter = kLevelBins / 4;
  for (int64_t q = 0; q < 4; ++q)
    t.loss_quartile[q] = mean_of_levels(q * kInQuarter, (q + 1) * kInQuarter);
  for (int64_t bin = 0; bin < kLevelBins; ++bin)
    t.loss_by_level[bin] = mean_of_levels(bin, bin + 1);
  t.learning_rate = learning_rate_;
  t.images_per_sec = images_per_sec();
  t.sec_per_kimg = t.images_per_sec > 0 ? 1000.0 / t.images_per_sec : 0;
  t.sec_per_tick = seconds();
  t.maintenance_sec = maintenance_;
  t.data_wait_frac = data_wait_ / t.sec_per_tick;
  t.comm_exposed_frac = comm_exposed_ / t.sec_per_tick;
  *this = TickMeter(batch_size_);
  return t;
}

}  // namespace scorenet::train
