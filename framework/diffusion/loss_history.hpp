// Steps drawn in proportion to the root of their losses' second moment (Nichol & Dhariwal 2021,
// 2102.09672, eq. 18).
//
// The last 10 losses of each step i = 1..T are kept. Until every step has 10 the draw is uniform;
// then p_i = (1 - 0.001) sqrt(mean L_i^2) / sum + 0.001 / T, and a sampled loss counts 1 / (T p_i).
// In a distributed run every rank must record the (step, loss) pairs of all ranks, in rank order,
// so that the histories stay identical.
#pragma once

#include <torch/types.h>

namespace scorenet::diffusion {

/// The state: two tensors, which a checkpoint saves.
struct LossHistory {
  torch::Tensor losses;  // (T, 10) float64, a ring for each step
  torch::Tensor counts;  // (T) int64, losses ever recorded
};

/// An empty history. Throws ConfigError if steps < 1.
LossHistory make_loss_history(int64_t steps);

/// Adds losses (n) float64 of steps (n) int64 in 1..T, in order. Throws ShapeError if they
/// differ in length.
void record_losses(LossHistory& history, const torch::Tensor& steps, const torch::Tensor& losses);

/// p (T) float64, sums to 1.
torch::Tensor step_probabilities(const LossHistory& history);

struct StepSample {
  torch::Tensor step;    // (B) int64 in 1..T
  torch::Tensor weight;  // (B) float64: 1 / (T p_i)
  // (B) float64 in [0, 1): the position within its step, uniform; independent of the step
  torch::Tensor fraction;
};

/// positions (B) in [0, 1) (time_sampler.hpp) through the inverse distribution function.
StepSample draw_steps(const LossHistory& history, const torch::Tensor& positions);

}  // namespace scorenet::diffusion
