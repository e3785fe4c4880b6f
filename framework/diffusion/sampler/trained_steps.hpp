// The numbered steps that diffusers' DDIMScheduler visits, for networks that were trained on
// numbered steps.
//
// With n trained steps, N steps asked for and r = floor(n / N), the i-th step has the number
// (set_timesteps; halves are rounded to even)
//     leading    (N - 1 - i) r + offset
//     trailing   round(n - i n / N) - 1
//     linspace   round((N - 1 - i) (n - 1) / (N - 1))
// Step k leads from level A_k to level A_{k-r}. Where r does not divide the grid, that is not the
// level of the next step. Below 0 there is no such level: the last step leads to A = 1, clean data,
// or to A_0. A is the product of discrete_steps.hpp, alpha = sqrt(A), sigma = sqrt(1 - A).
//
// Each step is DDIM's (Song, Meng, Ermon 2021, 2010.02502, eq. 12 and 16). The estimate of x0 is
// clipped to the scheduler's range; the estimate of eps is not changed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/diffusion/discrete_steps.hpp"
#include "framework/diffusion/sampler/sampler.hpp"
#include "framework/diffusion/sampler/time_grid.hpp"

namespace scorenet::diffusion {

/// The scheduler of a network with numbered steps.
struct TrainedSteps {
  DiscreteSteps law = {};
  std::string spacing = "leading";  // leading | trailing | linspace
  int64_t offset = 0;               // leading: added to every step's number (steps_offset)
  bool ends_clean = true;           // the last step leads to A = 1; else to A_0 (set_alpha_to_one)
  double clip = 0;                  // x0 is kept in [-clip, clip]; 0: as it is (clip_sample_range)
};

/// One step: from the level of its number to the level `to`. t holds the number, which is negative
/// for clean data. f and g_squared belong to continuous time and are 0.
struct TrainedStep {
  GridPoint from;
  GridPoint to;
};

/// The steps in the order they are made. Throws ConfigError unless 1 <= steps <= law.steps, for an
/// unknown spacing, and for an offset that leads beyond the last trained step.
std::vector<TrainedStep> trained_steps(const TrainedSteps& trained, int64_t steps);

std::vector<std::string> trained_spacings();

/// The value of SamplerOptions::spacing that asks for these steps. sample() itself does not accept
/// it.
inline constexpr const char* kTrainedSteps = "trained-steps";

/// sample() for these steps. x_start (B, ...): the state at the first step. Of `options`, only
/// name, steps, eta, final and keep_path are used. path_t holds the numbers of the steps. With
/// final = denoised the network is called once more, but only if the last step leaves noise. Throws
/// ConfigError for a method other than ddim, and as trained_steps does.
SampleResult sample_trained_steps(const Denoiser& denoiser, const TrainedSteps& trained,
                                  const SamplerOptions& options, const torch::Tensor& x_start,
                                  const NoiseSource& noise);

}  // namespace scorenet::diffusion
