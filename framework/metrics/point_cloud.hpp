// What every comparison of two clouds of points asks of them.
#pragma once

#include <torch/types.h>

#include <string>

namespace scorenet::metrics {

/// cloud (n, ...) as (n, D) float64 on the CPU. `metric` and `name` stand in messages. Throws
/// ShapeError for fewer than `least` points, NotFiniteError with the number of points that
/// are not finite.
torch::Tensor points(const torch::Tensor& cloud, const std::string& metric, const std::string& name,
                     int64_t least = 1);

/// Throws ShapeError unless x and y, both (n, D), have the same D.
void check_same_dims(const torch::Tensor& x, const torch::Tensor& y, const std::string& metric);

}  // namespace scorenet::metrics
