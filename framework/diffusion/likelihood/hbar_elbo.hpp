// The evaluators `hbar-elbo` and `hbar-iw`: -log p(x) of the reverse family at any noise knob h
// (Girsanov, Feynman-Kac; Huang, Lim, Courville 2021, 2106.02808 for h = 1).
//
// Along the forward member dX = (f X - (1 - h)/2 g^2 s) dt + sqrt(h) g dw from X = x at t_min,
//     log w = log N(X_T; 0, P I) + int [div f - (1+h)/2 g^2 div s - h/2 g^2 |s|^2] dt
//             - sqrt(h) int g s.dw                                                  (Ito)
//           = log N(X_T; 0, P I) + int [div F - h/2 g^2 |s|^2] dt
//             - sqrt(h) int g s o dw                                        (Stratonovich)
// with F the probability-flow field: E[w] = q^h(x) exactly, so
//     ELBO_h = E[log w] <= log q^h(x),   IW-ELBO_h(K) = E[log mean_K w]  ->  log q^h(x).
// For an exact score log w is the same on every path. h = 0 is `ode`, h = 1 the reverse SDE's
// bound: with z ~ q(z | x) at t_min, E[-ELBO_1(z)] - D log alpha_0 is `elbo` with the flat decoder.
//
// Scheme: uniform in log-SNR, Strang splitting: half a noise kick, an RK4 step of the drift, half a
// kick; the integral of s o dX over a kick by Simpson's rule on the segment. Weak order 2; at h = 0
// it is `ode` with the same RK4 steps.
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/hbar_shape.hpp"
#include "framework/diffusion/likelihood/exactness.hpp"
#include "framework/diffusion/likelihood/result.hpp"

namespace scorenet::diffusion {

struct HbarOptions {
  std::vector<double> hbars = {1.0};
  int64_t paths = 1;  // K of the importance-weighted form, also averaged in ELBO_h
  int64_t steps = 100;
  HbarShape hbar_shape = {};  // h(t) = hbar hbar_shape(t)
  bool exact_trace = false;  // else one Rademacher probe a slot, common to its K paths and to all h
  uint64_t seed = 0;
  bool whole_batch = false;  // the denoiser knows each example by its place (OdeLikelihoodOptions)
};

/// Both for one h. elbo: kind `bound`, nats = -mean_K log w. importance: kind `bound`, nats = -log
/// mean_K w. With probes the trace's error is common to the paths, so that it cancels in the mean
/// over probes and not inside the logarithm; what is left of it there (the paths differ) is a bias
/// of second order in it. Terms of elbo: "prior", "path".
struct HbarLikelihood {
  double hbar;
  LikelihoodResult elbo;
  LikelihoodResult importance;
};

/// x (B, ...), slots as in ode.hpp. The noise is a function of (seed, slot, path, step), the same
/// for all h: values at neighbouring h are positively correlated. nfe counts denoiser evaluations.
/// An example with a non-finite path is NaN. Throws ConfigError if hbars is empty or has a negative
/// value, if paths < 1 or steps < 1.
std::vector<HbarLikelihood> hbar_likelihood(const Denoiser& denoiser, const Schedule& schedule,
                                            const torch::Tensor& x,
                                            const std::vector<int64_t>& slots,
                                            const HbarOptions& options);

/// -ELBO_h without Monte Carlo for a denoiser that is affine in x_t wherever the paths go, any
/// number of dimensions: mean m and covariance C of X obey linear equations about each example's
/// own m, and E|s|^2 = |s(m)|^2 + tr(S C S^T). The denoiser is compared with its tangent at m over
/// the spread of X at every level that the solver asks for. h = 0 is the `ode` value with the exact
/// trace. nats (B), terms "prior", "path"; nfe counts right-hand sides, of both solves. An example
/// whose solve fails is not finite, never left out. Throws ConfigError where the denoiser is not
/// affine and h > 0, or where the second precision of exactness.hpp gives other values.
/// whole_batch: as in HbarOptions.
LikelihoodResult hbar_elbo_exact(const Denoiser& denoiser, const Schedule& schedule,
                                 const torch::Tensor& x, double hbar,
                                 const SolverPrecision& precision = {},
                                 const HbarShape& hbar_shape = {}, bool whole_batch = false);

/// Which of several h is best on held-out data, with the paired error of its gain.
struct BestHbar {
  double hbar;
  double nats_mean;
  double nats_stderr;
  double gain;         // mean of nats(reference) - nats(best)
  double gain_stderr;  // of the paired difference
  double hbar_low;     // the range of the given h that no paired difference tells from the best:
  double hbar_high;    // within two of its standard errors
  int64_t compared;    // examples finite at every h: those that count here
};

/// nats (hbars.size(), n): -ELBO_h or -IW of the same n examples. reference: row that gains are
/// measured against (h = 0 or the first). Examples that are NaN for any h count for none. Throws
/// ConfigError if rows and hbars do not fit or no example is finite.
BestHbar best_hbar(const std::vector<double>& hbars, const torch::Tensor& nats,
                   int64_t reference = 0);

}  // namespace scorenet::diffusion
