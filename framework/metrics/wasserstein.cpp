#include "framework/metrics/wasserstein.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "framework/core/check.hpp"
#include "framework/metrics/transport.hpp"

namespace scorenet::metrics {
namespace {

torch::Tensor points(const torch::Tensor& cloud, const char* name) {
  if (cloud.dim() < 1 || cloud.size(0) == 0) {
    throw ShapeError(std::string("w2: cloud ") + name + " has shape " +
                     shape_string(cloud.sizes()) + ", expected at least one point.");
  }
  const auto flat = cloud.to(torch::kCPU, torch::kFloat64).reshape({cloud.size(0), -1});
  const auto bad = (~torch::isfinite(flat)).any(1).sum().item<int64_t>();
  if (bad == 0) return flat;
  throw NotFiniteError(std::string("w2: ") + std::to_string(bad) + " of " +
                       std::to_string(cloud.size(0)) + " points of cloud " + name +
                       " are not finite. Check the samples.");
}

}  // namespace

Wasserstein wasserstein2(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::NoGradGuard no_grad;
  const auto x = points(a, "a"), y = points(b, "b");
  if (x.size(1) != y.size(1)) {
    throw ShapeError("w2: points of " + std::to_string(x.size(1)) + " and " +
                     std::to_string(y.size(1)) + " dimensions must have the same number.");
  }
  // The differences themselves, not |x|^2 + |y|^2 - 2 x.y: close points must keep their digits.
  const auto cost = torch::cdist(x, y, 2, /*compute_mode=*/2).square().contiguous();
  const double* first = cost.data_ptr<double>();
  const double squared = transport_cost({first, first + cost.numel()}, x.size(0), y.size(0));
  return {squared, std::sqrt(std::max(squared, 0.0))};
}

}  // namespace scorenet::metrics
