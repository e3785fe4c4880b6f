#include "framework/metrics/wasserstein.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "framework/metrics/point_cloud.hpp"
#include "framework/metrics/transport.hpp"

namespace scorenet::metrics {
Wasserstein wasserstein2(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::NoGradGuard no_grad;
  const auto x = points(a, "w2", "a"), y = points(b, "w2", "b");
  check_same_dims(x, y, "w2");
  // The differences themselves, not |x|^2 + |y|^2 - 2 x.y: close points must keep their digits.
  const auto cost = torch::cdist(x, y, 2, /*compute_mode=*/2).square().contiguous();
  const double* first = cost.data_ptr<double>();
  const double squared = transport_cost({first, first + cost.numel()}, x.size(0), y.size(0));
  return {squared, std::sqrt(std::max(squared, 0.0))};
}

}  // namespace scorenet::metrics
