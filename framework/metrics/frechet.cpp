#include "framework/metrics/frechet.hpp"

#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_eigvalsh.h>
#include <torch/utils.h>

#include "framework/metrics/point_cloud.hpp"

namespace scorenet::metrics {
namespace {

torch::Tensor covariance(const torch::Tensor& centred) {
  return centred.t().mm(centred) / static_cast<double>(centred.size(0) - 1);
}

// R with R^T R = c, for a symmetric c >= 0 whose smallest eigenvalues rounding may
// have made negative.
torch::Tensor root(const torch::Tensor& c) {
  const auto [values, vectors] = at::linalg_eigh(c);
  return values.clamp_min(0).sqrt().unsqueeze(1) * vectors.t();
}

}  // namespace

double frechet_distance(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::NoGradGuard no_grad;
  const auto x = points(a, "fd", "a", 2), y = points(b, "fd", "b", 2);
  check_same_dims(x, y, "fd");
  const auto mean_x = x.mean(0), mean_y = y.mean(0);
  const auto c_x = covariance(x - mean_x), c_y = covariance(y - mean_y);
  const auto r = root(c_x);
  const auto cross = at::linalg_eigvalsh(r.mm(c_y).mm(r.t())).clamp_min(0).sqrt().sum();
  const auto spread = c_x.trace() + c_y.trace() - 2 * cross;
  return ((mean_x - mean_y).square().sum() + spread).item<double>();
}

}  // namespace scorenet::metrics
