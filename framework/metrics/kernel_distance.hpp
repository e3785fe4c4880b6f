// The kernel distance between two clouds of features: MMD^2 with a cubic kernel (Binkowski et
// al. 2018, 1801.01401).
//
//     k(x, y) = (x.y / D + 1)^3,
//     KID     = mean over i != j of k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i)
// the U-statistic of Gretton et al. 2012 (JMLR 13, equation 4) over pairs (x_i, y_i): unbiased for
// any n, so figures of different n may be compared, and it may be negative.
#pragma once

#include <torch/types.h>

namespace scorenet::metrics {

struct KernelDistance {
  double value;
  double standard_error;  // 2 sd(row means) / sqrt(n): the U-statistic's first-order term
};

/// a, b: features (n, ...), the same n >= 2. Memory goes with n^2. Throws ShapeError,
/// NotFiniteError.
KernelDistance kernel_distance(const torch::Tensor& a, const torch::Tensor& b);

}  // namespace scorenet::metrics
