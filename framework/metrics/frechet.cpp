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

Moments moments_of(const torch::Tensor& cloud, const std::string& name) {
  const torch::NoGradGuard no_grad;
  const auto x = points(cloud, "fd", name, 2);
  const auto mean = x.mean(0);
  return {mean, covariance(x - mean), x.size(0)};
}

double frechet_distance(const Moments& a, const Moments& b) {
  const torch::NoGradGuard no_grad;
  check_same_dims(a.covariance, b.covariance, "fd");
  const auto r = root(a.covariance);
  const auto cross = at::linalg_eigvalsh(r.mm(b.covariance).mm(r.t())).clamp_min(0).sqrt().sum();
  const auto spread = a.covariance.trace() + b.covariance.trace() - 2 * cross;
  return ((a.mean - b.mean).square().sum() + spread).item<double>();
}

double frechet_distance(const torch::Tensor& a, const torch::Tensor& b) {
  return frechet_distance(moments_of(a, "a"), moments_of(b, "b"));
}

}  // namespace scorenet::metrics
