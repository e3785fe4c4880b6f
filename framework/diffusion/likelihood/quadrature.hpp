// Rules for the expectation over the noise in exact evaluation. Each has a second rule to compare
// with.
//
// D <= 2: a lattice, the trapezoidal rule on the normal density. It converges geometrically also
// for a mixture's denoiser, which has poles at a distance of pi / (slope of its responsibilities).
// Gauss-Hermite does so for polynomials only, and with as many points it is coarser where the
// weight is large. Every other point of the lattice makes a second rule without further
// evaluations. The error is squared when the spacing is halved, so the difference of the two rules
// is far above the finer rule's error.
//
// D > 2: the 2 D points +-sqrt(D) e_i, exact for polynomials of degree 3
// (Stroud's U2-type spherical rule) and so for |eps - eps_hat|^2 of an affine denoiser. The second
// rule is the same points on other axes; the two agree if the denoiser is affine.
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
/// normal draws; the others lie twice as far out, to find a curvature beyond the rules' points. The
/// same at every call.
struct NoiseChords {
  torch::Tensor a, b, middle;
};
NoiseChords noise_chords(int64_t dims);

}  // namespace scorenet::diffusion
