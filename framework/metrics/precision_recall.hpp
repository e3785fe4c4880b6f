// Precision and recall of samples against data (Kynkaanniemi et al. 2019, 1904.06991, section 3).
//
// A cloud's manifold is the union of balls around its points, each reaching to the k-th nearest
// other point of the cloud. Precision: the share of samples within the data's manifold; recall: the
// share of data within the samples'.
#pragma once

#include <torch/types.h>

namespace scorenet::metrics {

struct PrecisionRecall {
  double precision;
  double recall;
};

/// data (n, ...), samples (m, ...), n, m > k. Memory goes with n m. Throws
/// ShapeError, NotFiniteError.
PrecisionRecall precision_recall(const torch::Tensor& data, const torch::Tensor& samples,
                                 int64_t k = 3);

}  // namespace scorenet::metrics
