#include "framework/metrics/kernel_distance.hpp"

#include <torch/utils.h>

#include <cmath>

#include "framework/core/error.hpp"
#include "framework/metrics/point_cloud.hpp"

namespace scorenet::metrics {
namespace {

torch::Tensor kernel(const torch::Tensor& x, const torch::Tensor& y) {
  return (x.mm(y.t()) / static_cast<double>(x.size(1)) + 1).pow(3);
}

}  // namespace

KernelDistance kernel_distance(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::NoGradGuard no_grad;
  const auto x = points(a, "kid", "a", 2), y = points(b, "kid", "b", 2);
  check_same_dims(x, y, "kid");
  if (x.size(0) != y.size(0)) {
    throw ShapeError("kid: " + std::to_string(x.size(0)) + " and " + std::to_string(y.size(0)) +
                     " points, expected as many of the one as of the other.");
  }
  const auto cross = kernel(x, y);
  auto pairs = kernel(x, x) + kernel(y, y) - cross - cross.t();
  pairs.fill_diagonal_(0);
  const auto n = static_cast<double>(x.size(0));
  const auto rows = pairs.sum(1) / (n - 1);
  return {rows.mean().item<double>(), 2 * rows.std().item<double>() / std::sqrt(n)};
}

}  // namespace scorenet::metrics
