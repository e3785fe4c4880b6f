#include "framework/metrics/precision_recall.hpp"

#include <torch/utils.h>

#include <tuple>

#include "framework/metrics/point_cloud.hpp"

namespace scorenet::metrics {
namespace {

// The differences themselves, not |x|^2 + |y|^2 - 2 x.y: a point is at distance 0 from itself.
torch::Tensor distances(const torch::Tensor& x, const torch::Tensor& y) {
  return torch::cdist(x, y, 2, /*compute_mode=*/2);
}

// Distance of each point to its k-th nearest other point: the (k + 1)-th smallest, the point itself
// being the first.
torch::Tensor radii(const torch::Tensor& x, int64_t k) {
  return std::get<0>(distances(x, x).kthvalue(k + 1, 1));
}

double share_within(const torch::Tensor& x, const torch::Tensor& centres,
                    const torch::Tensor& reach) {
  return (distances(x, centres) <= reach.unsqueeze(0))
      .any(1)
      .to(torch::kFloat64)
      .mean()
      .item<double>();
}

}  // namespace

PrecisionRecall precision_recall(const torch::Tensor& data, const torch::Tensor& samples,
                                 int64_t k) {
  const torch::NoGradGuard no_grad;
  const auto x = points(data, "pr", "data", k + 1), y = points(samples, "pr", "samples", k + 1);
  check_same_dims(x, y, "pr");
  return {share_within(y, x, radii(x, k)), share_within(x, y, radii(y, k))};
}

}  // namespace scorenet::metrics
