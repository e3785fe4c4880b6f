// The evaluator `wkb`: -log p(x) of the reverse family to first order in its noise knob,
//     NLL(h) = nll0 + h nll1 + O(h^2)
// (Hirono, Tanaka, Fukushima 2024, 2403.11262, theorem 4.2). nll0 is the probability-flow ODE's
// value, nll1 its slope in h: negative where noise helps. x itself is the state at t_min, the prior
// is the schedule's own.
//
// With l0 = log q^{h=0}_t, p = grad l0, H its Hessian, score s = -eps / sigma, log-SNR L as time, F
// as in probability_flow.hpp and b = (sigma^2 / 2) (s - p), all along the h = 0 path
// (dL = -g^2 dt / sigma^2):
//     dl0/dL = -div F                               l0 = log N(x; 0, P I)
//     dp/dL  = -J^T p - grad div F                  p  = -x / P
//     dH/dL  = -(J^T H + H J) - Hess(p.F + div F)   H  = -I / P at t_max, back to t_min,
//     nll1   = -l1,   dl1/dL = -(div b + b.p),  l1 = 0
// Terms of all three evaluators: "nll0", "nll1"; nats = nll0. An example whose solve fails is NaN,
// never left out.
//
// h may depend on time: with h(t) = h shape(t), b is multiplied by shape(t), and nll1 is the slope
// in h. A shape that is 1 in one window of time and 0 elsewhere shows whether noise helps there.
// The windows have equal length in log-SNR, from "window_1" at the clean end to "window_N"; their
// values add up to nll1.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/hbar_shape.hpp"
#include "framework/diffusion/likelihood/result.hpp"

namespace scorenet::diffusion {

struct WkbOptions {
  int64_t steps = 150;  // RK4 steps uniform in log-SNR; 0: adaptive
  double rtol = 1e-6;   // adaptive: per example, on the whole state
  double atol = 1e-6;
  int64_t windows = 0;        // further terms "window_1" ..; they add up to nll1
  HbarShape hbar_shape = {};  // of h(t)
};

/// The windows' names and edges: t and log_snr (windows + 1), from t_min up to t_max. Throws
/// ConfigError if windows < 0.
struct WkbWindows {
  std::vector<std::string> terms;
  torch::Tensor t;
  torch::Tensor log_snr;
};
WkbWindows wkb_windows(const Schedule& schedule, int64_t windows);

/// The system above, without Monte Carlo, kind `exact`, or `estimate` where fixed steps are too few
/// for that. x (B, ...) with a small number D of dimensions: D^2 memory and 2 D + 2 gradients an
/// evaluation. nfe counts right-hand sides of both passes, at two precisions (exactness.hpp).
/// Windows cost nothing. Throws ConfigError if steps is not a multiple of windows, or negative, and
/// where nll0 or nll1 of adaptive solves differ.
LikelihoodResult wkb_exact(const Denoiser& denoiser, const Schedule& schedule,
                           const torch::Tensor& x, const WkbOptions& options);

/// The published system (theorem 4.2), with which wkb_exact must agree: a forward pass with
///     dx' = (dx.grad) F + b,   c' = dx.grad div F + div b,   nll1 = -(c + dx.grad log N) at t_max,
/// where grad l0 and lap l0 are central differences, with the given spacing, of inner solves for l0
/// from the path to t_max. O(steps^2 D): a check, not for use. Kind `estimate`, since its steps and
/// spacing are not compared with finer ones. Throws ConfigError if steps < 1 or spacing <= 0.
LikelihoodResult wkb_published(const Denoiser& denoiser, const Schedule& schedule,
                               const torch::Tensor& x, int64_t steps, double spacing,
                               const HbarShape& hbar_shape = {});

struct WkbProbeOptions {
  int64_t steps = 100;  // RK4 steps uniform in log-SNR; even
  int64_t repeats = 1;  // independent estimates an example
  double tangent_step =
      0.1;              // root mean square displacement of second differences, in units of sigma
  int64_t windows = 0;  // as in WkbOptions, at the cost of a pass each
  HbarShape hbar_shape = {};
  uint64_t seed = 0;
};

/// O(steps) estimate for images, kind `estimate`, unbiased but for the solver and terms of order
/// tangent_step^2 (see wkb_probed.cpp). slots name the probes. Memory does not grow with steps.
/// Further terms where repeats > 1: "nll0_stderr", "nll1_stderr", of the example's mean. nfe counts
/// network evaluations, a vector-Jacobian product as 2 and its derivative as 6: about 22 a stage,
/// against 3 of `ode`. With windows each has noise of its own, and their sum is nll1. Throws
/// ConfigError if steps is odd or < 2 or no multiple of 2 windows, repeats < 1 or
/// tangent_step <= 0.
LikelihoodResult wkb_probed(const Denoiser& denoiser, const Schedule& schedule,
                            const torch::Tensor& x, const std::vector<int64_t>& slots,
                            const WkbProbeOptions& options);

}  // namespace scorenet::diffusion
