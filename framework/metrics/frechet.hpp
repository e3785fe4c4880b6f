// The Frechet distance between Gaussians fitted to two clouds of features (Heusel et al. 2017,
// 1706.08500, equation 6).
//
//     d^2 = |mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)),   C with 1 / (n - 1)
// It grows with 1 / n for clouds of the same law: compare figures of the same n only.
#pragma once

#include <torch/types.h>

namespace scorenet::metrics {

/// d^2 of features a (n, ...) and b (m, ...), n, m >= 2. Float64; the root is taken on the
/// symmetric C_a^(1/2) C_b C_a^(1/2), whose eigenvalues are those of C_a C_b, so fewer
/// points than dimensions do no harm. Throws ShapeError if the dimensions differ or a cloud
/// is too small, NotFiniteError.
double frechet_distance(const torch::Tensor& a, const torch::Tensor& b);

}  // namespace scorenet::metrics
