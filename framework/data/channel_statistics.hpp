// What the values of each channel are like, and how many are missing.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>

namespace scorenet::data {

class ChannelStatistics {
 public:
  /// missing: the number that marks a value that is not there; NaN always does, and infinities
  /// count with it.
  explicit ChannelStatistics(std::optional<double> missing = {}) : missing_(missing) {}

  /// Examples (B, C, ...) of any type, C always the same.
  void add(const torch::Tensor& examples);

  /// (C) float64 each, over the values that are there; NaN where there is none.
  const torch::Tensor& least() const { return least_; }
  const torch::Tensor& greatest() const { return greatest_; }
  const torch::Tensor& mean() const { return mean_; }
  torch::Tensor deviation() const { return (squares_ / present_).sqrt(); }
  /// Share of the values that are missing, in [0, 1].
  torch::Tensor missing_share() const { return 1 - present_ / all_; }

 private:
  std::optional<double> missing_;
  double all_ = 0;  // values of a channel
  torch::Tensor present_, least_, greatest_, mean_, squares_;
};

}  // namespace scorenet::data
