// Sampling: from prior noise at t_max to data at t_min.
//
// Each method is one free function (methods.hpp, one .cpp each). This file holds what they share,
// and the table of their names. A sample is a function of its seed alone: all randomness comes from
// `x_start` and `noise`, which are addressed by seed. So neither the batch nor the number of ranks
// changes a sample.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "framework/diffusion/denoiser.hpp"
#include "framework/diffusion/hbar_shape.hpp"
#include "framework/diffusion/ode_solver.hpp"
#include "framework/diffusion/schedule.hpp"

namespace scorenet::diffusion {

/// The draw-th standard normal tensor (B, ...) of a run. Each method numbers the draws it
/// needs from 0.
using NoiseSource = std::function<torch::Tensor(int64_t draw)>;

/// Noise in which row i depends on (run_seed, seeds[i], draw) alone. example_shape: shape of one
/// example. float64, on `device`.
NoiseSource make_slot_noise(const std::vector<int64_t>& seeds,
                            const std::vector<int64_t>& example_shape, uint64_t run_seed = 0,
                            torch::Device device = torch::kCPU);

/// x at t_max drawn from the schedule's own prior N(0, prior_variance I): (seeds.size(),
/// example_shape...), float64, on `device`.
torch::Tensor draw_start(const Schedule& schedule, const std::vector<int64_t>& seeds,
                         const std::vector<int64_t>& example_shape, uint64_t run_seed = 0,
                         torch::Device device = torch::kCPU);

/// What a batch's norms (B) are replaced by in the corrector's step size: (B) or ().
using NormAverage = std::function<torch::Tensor(const torch::Tensor& norms)>;

/// EDM's exponent of the steps (Karras et al. 2022, 2206.00364, table 1).
inline constexpr double kEdmRho = 7;

struct SamplerOptions {
  std::string name = "heun";
  int64_t steps = 18;
  std::string spacing = "uniform";  // uniform | log-snr | edm
  double rho = kEdmRho;             // of spacing edm
  std::string final = "state";  // state: x at t_min; denoised: the x0 that the denoiser sees in it
  double eta = 0.0;             // ddim: 0 deterministic .. 1 ancestral
  double hbar = 1.0;  // euler-maruyama, dpmpp-2m-sde: 0 the probability-flow ODE, 1 the reverse SDE
  HbarShape hbar_shape = {};  // the same two: h(t) = hbar hbar_shape(t)
  // heun (Karras et al. 2022, algorithm 2); the levels are those of x / alpha.
  double churn = 0.0;
  double churn_min = 0.0;
  double churn_max = 1e300;
  double churn_noise = 1.0;
  // pc (Song et al. 2021, 2011.13456, algorithms 4 and 5).
  int64_t corrector_steps = 1;
  double corrector_snr = 0.16;
  // pc: if this is not set, each example uses its own norms and so depends on its seed alone.
  // score_sde takes the mean over the global batch; a caller that knows the ranks gives it here.
  NormAverage norm_average = {};
  // ode: per-example tolerances of the adaptive solver, by with_tolerances; 0: not given.
  double rtol = 0;
  double atol = 0;
  bool whole_batch = false;  // ode: of a denoiser that tells each example something
  bool keep_path = false;    // of methods with one evaluation a step: return all states
};

struct SampleResult {
  torch::Tensor x;            // (B, ...), float64, on x_start's device
  double nfe;                 // denoiser evaluations of an example: the mean over the batch
  torch::Tensor path = {};    // (B, steps + 1, ...) where kept: x at path_t, t_max first
  torch::Tensor path_t = {};  // (steps + 1)
};

/// x_start (B, ...): the state at t_max. The state stays in float64; the denoiser converts
/// it to the network's dtype. No gradient is recorded. Deterministic methods never call
/// `noise`. Throws ConfigError
///   - if the name (the message lists the known ones), the spacing, `final` or a number is not
///     allowed, or if rho is set for another spacing than edm;
///   - if hbar_shape is set for a method without that knob;
///   - if keep_path is set for a method that does not evaluate exactly once a step.
/// Throws NotFiniteError if an adaptive solve fails.
SampleResult sample(const Denoiser& denoiser, const Schedule& schedule,
                    const SamplerOptions& options, const torch::Tensor& x_start,
                    const NoiseSource& noise);

}  // namespace scorenet::diffusion
