// Statistics of one number an example. All are NaN, in JSON null, where there are too few.
#pragma once

#include <torch/types.h>

#include <cmath>

namespace scorenet::evaluate {

inline double mean_of(const torch::Tensor& values) {
  return values.numel() ? values.mean().item<double>() : std::nan("");
}

inline double quantile_of(const torch::Tensor& values, double q) {
  return values.numel() ? values.quantile(q).item<double>() : std::nan("");
}

/// Of the mean.
inline double standard_error_of(const torch::Tensor& values) {
  if (values.numel() < 2) return std::nan("");
  return values.std().item<double>() / std::sqrt(static_cast<double>(values.numel()));
}

}  // namespace scorenet::evaluate
