#include "framework/diffusion/quadrature.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <string>

#include "framework/core/error.hpp"

namespace scorenet::diffusion {
namespace {

// The rule of a symmetric weight of total mass `mass`, from the off-diagonal (n - 1) of its Jacobi matrix.
LineRule golub_welsch(const at::Tensor& off_diagonal, double mass) {
  const at::Tensor jacobi = at::diag(off_diagonal, 1) + at::diag(off_diagonal, -1);
  const auto [nodes, vectors] = at::linalg_eigh(jacobi);
  const at::Tensor weights = mass * vectors[0].square();
  // Both rules are symmetric; averaging with the mirror image removes the solver's rounding.
  return {(nodes - nodes.flip(0)) / 2, (weights + weights.flip(0)) / 2};
}

at::Tensor one_to(int64_t n) { return at::arange(1, n + 1, at::kDouble); }

}  // namespace

LineRule gauss_legendre(int64_t points, double a, double b) {
  const at::Tensor k = one_to(points - 1);
  const LineRule unit = golub_welsch(k / (4 * k.square() - 1).sqrt(), 2.0);
  return {(a + b) / 2 + (b - a) / 2 * unit.nodes, (b - a) / 2 * unit.weights};
}

LineRule composite_gauss_legendre(int64_t panels, int64_t points, double a, double b) {
  const double width = (b - a) / static_cast<double>(panels);
  const LineRule panel = gauss_legendre(points, 0, width);
  const at::Tensor starts = a + width * at::arange(panels, at::kDouble);
  return {(starts.unsqueeze(1) + panel.nodes).flatten(), panel.weights.repeat({panels})};
}

LineRule gauss_hermite(int64_t points) { return golub_welsch(one_to(points - 1).sqrt(), 1.0); }

NoiseRule gaussian_noise_rule(int64_t dims, int64_t points) {
  if (dims < 1 || points < 1) {
    throw ConfigError("noise quadrature with dims = " + std::to_string(dims) +
                      ", points = " + std::to_string(points) + ": both must be at least 1.");
  }
  if (dims > 2) {
    const at::Tensor axes = std::sqrt(static_cast<double>(dims)) * at::eye(dims, at::kDouble);
    return {at::cat({axes, -axes}),
            at::full({2 * dims}, 0.5 / static_cast<double>(dims), at::kDouble)};
  }
  const LineRule line = gauss_hermite(points);
  if (dims == 1) return {line.nodes.unsqueeze(1), line.weights};
  const at::Tensor first = line.nodes.repeat_interleave(points);
  const at::Tensor second = line.nodes.repeat({points});
  return {at::stack({first, second}, 1), at::outer(line.weights, line.weights).flatten()};
}

}  // namespace scorenet::diffusion
