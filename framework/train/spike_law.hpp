// The recent law of the loss and of the gradient norm, from which a spike stands out.
//
// With m the median and d the median absolute deviation of the logarithm over the last kWindow
// steps, a value is a spike above exp(m + deviations * max(1.4826 d, kLeastDeviation)); 1.4826
// makes d the standard deviation of a normal law. Step k is judged by the steps up to k - 2: a GPU
// is given its limits while step k - 1 is under way, and so every route decides alike. A spike
// enters the window like any step; the median does not heed it, and a new level that stays is soon
// the usual one. Values that have no logarithm (a loss below 0) are not judged.
#pragma once

#include <torch/types.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace scorenet::train {

class SpikeLaw {
 public:
  static constexpr int64_t kWindow = 128;  // steps
  static constexpr int64_t kLeast = 32;    // before so many are known nothing is a spike
  static constexpr double kLeastDeviation = 0.05;

  explicit SpikeLaw(double deviations);

  struct Limits {
    double loss = std::numeric_limits<double>::infinity();
    double grad_norm = std::numeric_limits<double>::infinity();
  };
  /// For a step, from what was observed of the steps before it.
  Limits limits(int64_t step) const;
  /// Of a step whose loss and gradient were finite; the same values on all ranks.
  void observe(int64_t step, double loss, double grad_norm);

  /// "the loss 812.3 is far above its recent median 3.1 (limit 9.7)". REQUIRES a finite limit.
  std::string loss_sentence(int64_t step, double loss) const;
  std::string norm_sentence(int64_t step, double grad_norm) const;

  /// What a checkpoint saves, by name: tensors that share memory with this. Restore by copying
  /// into them.
  std::vector<std::pair<std::string, torch::Tensor>> state() const;

 private:
  std::vector<double> recent(int64_t step, int64_t which) const;

  double deviations_;
  torch::Tensor steps_;  // (kWindow + 1) int64: the step in this place, counted from 1; 0: none
  torch::Tensor logs_;   // (kWindow + 1, 2) float64: of loss and norm
};

}  // namespace scorenet::train
