#include "framework/train/tick_meter.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

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
  for (int q = 0; q < 4; ++q) {
    quartile_loss_[q] += report.quartile_loss[q];
    quartile_count_[q] += report.quartile_count[q];
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

Tick TickMeter::take() {
  Tick t;
  t.loss = mean_loss();
  t.grad_norm = counted_ ? grad_norm_ / static_cast<double>(counted_) : std::nan("");
  for (int q = 0; q < 4; ++q) {
    t.loss_quartile[q] =
        quartile_count_[q] > 0 ? quartile_loss_[q] / quartile_count_[q] : std::nan("");
  }
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
