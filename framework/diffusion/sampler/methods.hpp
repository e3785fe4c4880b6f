// The sampling methods, siblings of one signature: x at grid.front() to x at grid.back().
//
// Notation in the .cpp files, for one step from t down to s:
//
//     a, s         alpha and sigma           z        x_t
//     xh, eh       estimates of x0 and eps at (z, t)
//     h            (log_snr_s - log_snr_t) / 2 > 0
//     gamma        -log_snr                  n        ~ N(0, I)
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/diffusion/sampler/sampler.hpp"
#include "framework/diffusion/sampler/time_grid.hpp"

namespace scorenet::diffusion {

/// The denoiser as the methods call it: float64 in and out, one level for the whole batch. Counts
/// its evaluations.
class CountedDenoiser {
 public:
  explicit CountedDenoiser(const Denoiser& denoiser, bool keep_states = false)
      : denoiser_(denoiser), keep_states_(keep_states) {}

  Denoised operator()(const torch::Tensor& x, const GridPoint& point);
  /// An evaluation at a level for each example, counted by the caller.
  Denoised at(const torch::Tensor& x, const NoiseLevel& level) const;
  int64_t evaluations() const { return evaluations_; }
  /// The states that it was called with, in order, if they are kept.
  const std::vector<torch::Tensor>& states() const { return states_; }

 private:
  const Denoiser& denoiser_;
  bool keep_states_;
  int64_t evaluations_ = 0;
  std::vector<torch::Tensor> states_;
};

/// The arguments of a method. Lives for one call of sample().
struct SamplerRun {
  CountedDenoiser& denoiser;
  const Schedule& schedule;
  const SamplerOptions& options;
  const NoiseSource& noise;
};

using Grid = std::vector<GridPoint>;

/// Kingma et al. 2021, 2107.00630, eq. 33-35: draws from q(x_s | x_t, xh). 1 evaluation a step.
torch::Tensor sample_ancestral(SamplerRun& run, const Grid& grid, torch::Tensor x);
/// Song, Meng, Ermon 2021, 2010.02502, eq. 12 and 16: eta = 0 is deterministic, eta = 1 ancestral.
/// 1 a step.
torch::Tensor sample_ddim(SamplerRun& run, const Grid& grid, torch::Tensor x);
/// Any member of the reverse family, dx = [f x - (1 + hbar) / 2 g^2 score] dt + sqrt(hbar) g dw.
/// 1 a step.
torch::Tensor sample_euler_maruyama(SamplerRun& run, const Grid& grid, torch::Tensor x);
/// Karras et al. 2022, 2206.00364, algorithm 2, in the space y = x / alpha. 2 a step.
torch::Tensor sample_heun(SamplerRun& run, const Grid& grid, torch::Tensor x);
/// Lu et al. 2022, 2211.01095, algorithm 2: multistep in xh. 1 a step.
torch::Tensor sample_dpmpp_2m(SamplerRun& run, const Grid& grid, torch::Tensor x);
/// The same paper's SDE-DPM-Solver++(2M), midpoint form, any hbar >= 0 (1 is the paper's; 0 is
/// dpmpp-2m). 1 a step.
torch::Tensor sample_dpmpp_2m_sde(SamplerRun& run, const Grid& grid, torch::Tensor x);
/// Zhang & Chen 2022, 2204.13902: first-order exponential integrator in eh. 1 a step.
torch::Tensor sample_exponential(SamplerRun& run, const Grid& grid, torch::Tensor x);
/// Song et al. 2021, 2011.13456: Langevin corrector, then reverse-diffusion predictor. 1 +
/// corrector_steps a step.
torch::Tensor sample_predictor_corrector(SamplerRun& run, const Grid& grid, torch::Tensor x);

/// The probability-flow ODE from t_max to t_min, adaptive, in log-SNR: dx / d log_snr = (f /
/// log_snr') x - (sigma / 2) eh. nfe is the mean number of evaluations of an example. Throws
/// NotFiniteError naming how many examples failed.
SampleResult sample_ode(SamplerRun& run, const torch::Tensor& x_start);

}  // namespace scorenet::diffusion
