// Quadrature rules: integrals over log-SNR and expectations over Gaussian noise without Monte Carlo.
//
// Gauss rules by Golub & Welsch 1969: nodes are the eigenvalues of the Jacobi matrix of the weight's orthogonal
// polynomials, weights the squared first components of its eigenvectors.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace scorenet::diffusion {

/// sum_i weights[i] f(nodes[i]). Both (n) float64, CPU.
struct LineRule {
  torch::Tensor nodes;
  torch::Tensor weights;
};

/// Exact on [a, b] for polynomials up to degree 2 points - 1. REQUIRES points >= 1.
LineRule gauss_legendre(int64_t points, double a, double b);
/// `panels` equal panels of [a, b] with a Gauss-Legendre rule of `points` each.
LineRule composite_gauss_legendre(int64_t panels, int64_t points, double a, double b);
/// E f(eps) for eps ~ N(0, 1), exact up to degree 2 points - 1; the weights sum to one. REQUIRES points >= 1.
LineRule gauss_hermite(int64_t points);

/// E f(eps) for eps ~ N(0, I_D) as sum_i weights[i] f(nodes[i]). nodes (n, D), weights (n), float64, CPU.
struct NoiseRule {
  torch::Tensor nodes;
  torch::Tensor weights;
};

/// dims <= 2: the product of Gauss-Hermite rules, points^dims nodes. Above: the 2 D nodes +-sqrt(D) e_i with equal
/// weights, exact to degree 3 (Stroud 1957), hence for squared errors of denoisers that are affine in x_t; for others
/// it is an approximation without a bound. Throws ConfigError unless dims >= 1 and points >= 1.
NoiseRule gaussian_noise_rule(int64_t dims, int64_t points);

}  // namespace scorenet::diffusion
