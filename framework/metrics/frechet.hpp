// The Frechet distance between Gaussians fitted to two clouds of features (Heusel et al. 2017,
// 1706.08500, equation 6).
//
//     d^2 = |mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)),   C with 1 / (n - 1)
// It grows with 1 / n for clouds of the same law: compare figures of the same n only.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

namespace scorenet::metrics {

/// Mean (D) and covariance (D, D), float64 on the CPU, of n points.
struct Moments {
  torch::Tensor mean;
  torch::Tensor covariance;
  int64_t n = 0;
};

/// Those of a cloud (n, ...), n >= 2. `name` stands in messages. Throws as frechet_distance.
Moments moments_of(const torch::Tensor& cloud, const std::string& name);

/// d^2 of two Gaussians. Throws ShapeError if their dimensions differ.
double frechet_distance(const Moments& a, const Moments& b);

/// d^2 of features a (n, ...) and b (m, ...), n, m >= 2. Float64; the root is taken on the
/// symmetric C_a^(1/2) C_b C_a^(1/2), whose eigenvalues are those of C_a C_b, so fewer
/// points than dimensions do no harm. Throws ShapeError if the dimensions differ or a cloud
/// is too small, NotFiniteError.
double frechet_distance(const torch::Tensor& a, const torch::Tensor& b);

}  // namespace scorenet::metrics
