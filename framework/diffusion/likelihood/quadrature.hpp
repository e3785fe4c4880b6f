// Rules for the expectation over the noise in exact evaluation: lattices and a pair of cubatures,
// each with a second rule.
//
// D <= 2: the trapezoidal rule on the normal density. It converges geometrically, as
// Gauss-Hermite does for polynomials only: a mixture's denoiser has poles at a distance
// pi / (slope of its responsibilities), and at equal counts the lattice is finer where the weight
// is. Every other point makes a rule of twice the spacing for free; since the error squares when
// the spacing halves, their difference bounds the finer rule's error from far above. D > 2: the 2
// D points +-sqrt(D) e_i, exact for polynomials of degree 3 (Stroud's U2-type spherical rule), so
// for |eps - eps_hat|^2 of an affine denoiser; and the same points on other axes, which agree
// where that holds.
#pragma once

#include <torch/types.h>

namespace scorenet::diffusion {

/// E f(eps) = sum_i weights_i f(nodes_i) for eps ~ N(0, I). nodes (M, D), weights (M);
/// second_weights (M): another rule on the same nodes. squares: the error squares from the second
/// rule to the first, else both are equally good.
struct NoiseRule {
  torch::Tensor nodes;
  torch::Tensor weights;
  torch::Tensor second_weights;
  bool squares;
};

/// The lattice of the given spacing in 1 or 2 dimensions, cut where its weight is below 1e-16
/// of the middle's.
NoiseRule noise_lattice(int64_t dims, double spacing);

/// The 4 D points +-sqrt(D) e_i and +-sqrt(D) q_i, q an orthonormal basis in no particular
/// direction: a rule each.
NoiseRule paired_cubature(int64_t dims);

/// Chords through the noise, (n, D) each: ends a and b, middle (a + b) / 2. Half of the ends are
/// normal draws, half reach twice as far, so that a bend outside the rules' points which matters
/// for an expectation is seen. The same at every call.
struct NoiseChords {
  torch::Tensor a, b, middle;
};
NoiseChords noise_chords(int64_t dims);

}  // namespace scorenet::diffusion
