#include "framework/metrics/point_cloud.hpp"

#include "framework/core/check.hpp"

namespace scorenet::metrics {

torch::Tensor points(const torch::Tensor& cloud, const std::string& metric, const std::string& name,
                     int64_t least) {
  if (cloud.dim() < 1 || cloud.size(0) < least) {
    throw ShapeError(metric + ": cloud " + name + " has shape " + shape_string(cloud.sizes()) +
                     ", expected at least " + std::to_string(least) + " point" +
                     (least == 1 ? "" : "s") + ". Give a larger --n.");
  }
  const auto flat = cloud.to(torch::kCPU, torch::kFloat64).reshape({cloud.size(0), -1});
  const auto bad = (~torch::isfinite(flat)).any(1).sum().item<int64_t>();
  if (bad == 0) return flat;
  throw NotFiniteError(metric + ": " + std::to_string(bad) + " of " +
                       std::to_string(cloud.size(0)) + " points of cloud " + name +
                       " are not finite. Check the samples.");
}

void check_same_dims(const torch::Tensor& x, const torch::Tensor& y, const std::string& metric) {
  if (x.size(1) == y.size(1)) return;
  throw ShapeError(metric + ": points of " + std::to_string(x.size(1)) + " and " +
                   std::to_string(y.size(1)) + " dimensions must have the same number.");
}

}  // namespace scorenet::metrics
