#include "framework/diffusion/likelihood/quadrature.hpp"

#include <cmath>

namespace scorenet::diffusion {

// The nodes are the eigenvalues of the Jacobi matrix with off-diagonal k / sqrt(4 k^2 - 1); a node's weight is twice
// the square of its eigenvector's first component.
QuadratureRule gauss_legendre(int64_t n) {
  const auto k = torch::arange(1, n, torch::kFloat64);
  const auto off_diagonal = k / (4.0 * k.square() - 1.0).sqrt();
  const auto jacobi = torch::diag(off_diagonal, 1) + torch::diag(off_diagonal, -1);
  const auto [nodes, vectors] =
      torch::linalg_eigh(n == 1 ? torch::zeros({1, 1}, torch::kFloat64) : jacobi);
  return {nodes, 2.0 * vectors[0].square()};
}

QuadratureRule panel_rule(double low, double high) {
  const auto panels = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(high - low)));
  const double half = 0.5 * (high - low) / static_cast<double>(panels);
  const QuadratureRule unit = gauss_legendre(8);
  const auto middle = low + half * (2.0 * torch::arange(panels, torch::kFloat64) + 1.0);
  return {(middle.unsqueeze(1) + half * unit.nodes).flatten(),
          (half * unit.weights).repeat({panels})};
}

NoiseRule noise_lattice(int64_t dims, double spacing) {
  // exp(-x^2 / 2) = 1e-16 at x = 8.584.
  const auto reach = static_cast<int64_t>(std::ceil(8.584 / spacing));
  auto index = torch::arange(-reach, reach + 1, torch::kInt64).unsqueeze(1);
  if (dims == 2) {
    const auto n = index.size(0);
    index = torch::stack({index.expand({n, n}), index.t().expand({n, n})}, -1).reshape({n * n, 2});
  }
  const auto density = (-0.5 * (spacing * index.to(torch::kFloat64)).square().sum(1)).exp();
  const auto kept = density.gt(1e-16).nonzero().squeeze(1);
  const auto nodes = index.index_select(0, kept);
  const auto weights = density.index_select(0, kept);
  const auto even = weights * nodes.remainder(2).eq(0).all(1).to(torch::kFloat64);
  return {spacing * nodes.to(torch::kFloat64), weights / weights.sum(), even / even.sum()};
}

NoiseRule symmetric_cubature(int64_t dims) {
  const auto axis = std::sqrt(static_cast<double>(dims)) * torch::eye(dims, torch::kFloat64);
  const auto weights = torch::full({2 * dims}, 0.5 / static_cast<double>(dims), torch::kFloat64);
  return {torch::cat({axis, -axis}), weights, weights};
}

}  // namespace scorenet::diffusion
