// The numbers that ranks exchange in a step, and the report made from them.
#pragma once

#include <string>
#include <vector>

#include "framework/comm/control_vector.hpp"
#include "framework/optim/loss_scale.hpp"
#include "framework/score/score_model.hpp"
#include "framework/train/train_step.hpp"

namespace scorenet::train {

/// loss, not_finite, stop, save, writing, write_failed, level_loss, level_count, data_wait,
/// comm_exposed, reorder. If wanted, also example_loss: one for each slot, filled by the rank that
/// has the slot.
std::vector<comm::ControlField> step_control_fields(int64_t global_batch, bool example_losses);

/// In which of kLevelBins equal intervals of the schedule's log-SNR range each time lies, cleanest
/// first: (B) int64, on the CPU.
torch::Tensor level_bins_of(const diffusion::Schedule& schedule, const torch::Tensor& times);

/// What a step tells the network, on the CPU: with probability label_drop an example is trained
/// without its label and its conditions (Ho & Salimans 2022): index num_classes, told 0. A
/// classifier's labels, its truth, are all there.
models::Conditions conditions_of_step(const score::ScoreModel& model,
                                      const data::LoadedBatch& loaded,
                                      const std::vector<int64_t>& slots, int64_t step);

/// The learning rate of a step.
double learning_rate_of(const config::TrainConfig& train, int64_t step);

/// " sample 17 at t = 0.25;" for each loss that is not finite. losses, times: (B) float64, CPU.
std::string trouble_of(const torch::Tensor& losses, const std::vector<int64_t>& indices,
                       const torch::Tensor& times);

/// Raises the flags of what this rank asks for.
void raise_wishes(comm::ControlVector& control, const Wishes& wishes);

/// The limits of a step's sum of losses and of its norm: what lies above is a spike.
SpikeLaw::Limits summed_limits(const config::TrainConfig& train, const SpikeLaw& spikes,
                               int64_t step);

/// What a rank knows of its own examples in a step.
struct OwnExamples {
  std::string trouble;                // trouble_of()
  const std::vector<double>& losses;  // nats per dimension
  const std::vector<int64_t>& indices;
  const torch::Tensor& times;  // (B) float64, CPU
};

/// " sample 17 of rank 1 at t = 0.25 (loss 91.2);" for the largest losses of all ranks. Collective.
std::string largest_losses(const OwnExamples& own, comm::Communicator& comm);

/// The report on a step whose control vector has been summed over the ranks. norm: of the whole
/// gradient. A finite step is also held against `spikes`, and enters them. Collective if a loss was
/// not finite or the step is a spike: all ranks then receive the samples of those that had it.
StepReport report_of(const comm::ControlVector& control, const config::TrainConfig& train,
                     int64_t step, double norm, const optim::LossScale& scale,
                     const OwnExamples& own, SpikeLaw& spikes, comm::Communicator& comm);

}  // namespace scorenet::train
