#include "framework/data/channel_statistics.hpp"

#include <cmath>

namespace scorenet::data {

// Mean and squared deviations of parts are joined as Chan, Golub and LeVeque 1983 (eq. 2.1) do.
void ChannelStatistics::add(const torch::Tensor& examples) {
  if (examples.numel() == 0) return;
  const int64_t channels = examples.size(1);
  const auto values =
      examples.transpose(0, 1).reshape({channels, -1}).to(torch::kFloat64);  // (C, values)
  auto there = torch::isfinite(values);
  if (missing_) there = there.logical_and(values.to(examples.scalar_type()).ne(*missing_));
  const auto count = there.sum(1).to(torch::kFloat64);
  const auto mean = torch::where(there, values, 0).sum(1) / count;
  const auto squares = torch::where(there, values - mean.unsqueeze(1), 0).square().sum(1);
  const auto least = torch::where(there, values, INFINITY).amin(1);
  const auto greatest = torch::where(there, values, -INFINITY).amax(1);
  if (all_ == 0) {
    present_ = torch::zeros_like(count);
    mean_ = torch::zeros_like(count);
    squares_ = torch::zeros_like(count);
    least_ = least;
    greatest_ = greatest;
  }
  all_ += static_cast<double>(values.size(1));
  const auto some = count.gt(0);
  const auto shift = torch::where(some, mean - mean_, 0);
  const auto together = torch::where(some, present_ + count, 1);
  squares_ =
      squares_ + torch::where(some, squares, 0) + shift.square() * present_ * count / together;
  mean_ = mean_ + shift * count / together;
  present_ = present_ + count;
  least_ = torch::minimum(least_, least);
  greatest_ = torch::maximum(greatest_, greatest);
}

}  // namespace scorenet::data
