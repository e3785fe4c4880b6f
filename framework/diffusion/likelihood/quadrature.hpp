// Deterministic integration for exact evaluation: panels of Gauss-Legendre in log-SNR, lattices and cubatures in noise.
//
// Noise, D <= 2: the trapezoidal rule on the normal density. It converges geometrically, as Gauss-Hermite does for
// polynomials only: a mixture's denoiser has poles at a distance pi / (slope of its responsibilities), and at equal
// counts the lattice is finer where the weight is. Every other point makes a rule of twice the spacing for free; since the
// error squares when the spacing halves, their difference bounds the finer rule's error from far above.
// Noise, D > 2: the 2 D points +-sqrt(D) e_i, exact for polynomials of degree 3 (Stroud's U2-type spherical rule), so
// for |eps - eps_hat|^2 of an affine denoiser.
#pragma once

#include <torch/types.h>

namespace scorenet::diffusion {

/// integral f = sum_i weights_i f(nodes_i); (n) float64 both.
struct QuadratureRule {
  torch::Tensor nodes;
  torch::Tensor weights;
};

/// n-point Gauss-Legendre on [-1, 1] (Golub & Welsch 1969): exact for degree 2 n - 1.
QuadratureRule gauss_legendre(int64_t n);

/// 8-point Gauss-Legendre on equal panels of width at most 1 that fill [low, high].
QuadratureRule panel_rule(double low, double high);

/// E f(eps) = sum_i weights_i f(nodes_i) for eps ~ N(0, I). nodes (M, D), weights (M), coarse_weights (M) the rule of
/// twice the spacing on the same nodes (equal to weights where there is none).
struct NoiseRule {
  torch::Tensor nodes;
  torch::Tensor weights;
  torch::Tensor coarse_weights;
};

/// The lattice of the given spacing in 1 or 2 dimensions, cut where its weight is below 1e-16 of the middle's.
NoiseRule noise_lattice(int64_t dims, double spacing);

/// The 2 D points +-sqrt(D) e_i, each of weight 1 / (2 D).
NoiseRule symmetric_cubature(int64_t dims);

}  // namespace scorenet::diffusion
