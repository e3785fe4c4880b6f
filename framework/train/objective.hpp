// What training minimises: the draws of noise levels, the loss of each example, and the state of
// both.
//
//     diffusion.loss           loss of an example                                 diffusion/
//     elbo likelihood simple   a weight on the squared error; with train_steps    loss
//       edm min_snr              = T that of the T-step bound
//       + divergence_weight    v and its divergence                               second_order
//     uncertainty              L / e^u + u with a learned u(log_snr)              learned_weights
//     hybrid                   simple + weight x T-step bound, learned variance   learned_weights
//     elbo likelihood,         the bound, and the schedule trained with it        learned_schedule
//       on vdm_learned
//     any, for a classifier    cross-entropy of the label given noised data       guidance
//
// With time_sampling = loss_second_moment the times depend on earlier losses of all ranks:
// observe() keeps their history, which checkpoints save. All else is a function of
// (seed, step, slot). The next loss is a function and a row of the table in objective.cpp.
#pragma once

#include <torch/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/loss_history.hpp"
#include "framework/diffusion/time_sampler.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::train {

/// Noise levels of some slots of the global batch, all (B); draw_levels() makes them on the CPU.
struct DrawnLevels {
  diffusion::TimeSample times;
  torch::Tensor before;  // float64: t_{i-1} where times are the t_i of train_steps; else undefined
  torch::Tensor bin;     // int64 in 1..bins: the history that the loss belongs to; or undefined
  torch::Tensor weight;  // on the loss: 1, or 1 / (bins p_bin) where bins are drawn unevenly

  /// REQUIRES before.
  diffusion::ReverseStep chain() const { return {before, times.t}; }
  DrawnLevels narrow(int64_t first, int64_t count) const;
};

/// Some examples of a step and what was drawn for them.
struct NoisedExamples {
  torch::Tensor x0;     // (B, ...) float32 on the model's device
  torch::Tensor eps;    // as x0
  torch::Tensor probe;  // +-1, as x0, where the divergence is taught (draw_probe); else undefined
  models::Conditions given;  // labels of a classifier: the truth
  DrawnLevels levels;
  // as x0, 1 where a value is there, else 0, as are x0 and eps; undefined: all are there
  torch::Tensor observed = {};
};

class Objective {
 public:
  /// levels: of discrete data (the decoder of learned ends); 0: continuous. `model` must outlive
  /// this. Throws ConfigError for a rule of times or a loss that it does not know.
  Objective(const score::ScoreModel& model, int64_t levels);

  /// The noise levels of these slots of the global batch at `step`: the same on every rank.
  DrawnLevels draw_levels(int64_t step, const std::vector<int64_t>& slots) const;

  /// Signs as x0 for second-order flow matching; undefined unless diffusion.divergence_weight > 0.
  torch::Tensor draw_probe(int64_t step, const std::vector<int64_t>& slots,
                           const torch::Tensor& x0) const;

  /// (B) float64 on the model's device: nats per observed dimension (a classifier: nats), times
  /// levels.weight. Its sum's gradient is every parameter's, the learned schedule's included.
  /// dropout: null for none.
  torch::Tensor loss_per_example(const NoisedExamples& examples,
                                 const models::BatchSlots* dropout) const;

  /// Whether loss_per_example() runs on the device alone, given levels that lie there: without any
  /// help of the host, so that it can be recorded (core/device_graph.hpp); and whether the host can
  /// draw the next levels before it knows the losses.
  bool runs_on_device() const;

  int64_t levels() const { return levels_; }

  /// Whether observe() wants the losses.
  bool has_history() const { return history_.has_value(); }
  /// losses: of the whole global batch by slot, as loss_per_example gave them. Call it on all ranks
  /// with the same values.
  void observe(int64_t step, const std::vector<double>& losses);

  /// What a checkpoint saves beside the parameters, by name: CPU tensors that share memory with
  /// this, float64 or int64. Restore by copying into them.
  std::vector<std::pair<std::string, torch::Tensor>> state() const;

 private:
  const score::ScoreModel& model_;
  int64_t levels_;
  std::optional<diffusion::LossHistory> history_;
};

/// The seed of all draws of training: train.seed, until the run goes back for the first time.
uint64_t draw_seed(const config::TrainConfig& train);

/// The seed's key for a stream at a step of training.
RandomKey key_at(const config::Config& config, RandomStream stream, int64_t step);

/// What an example's loss is multiplied by before its gradient: train.loss_scaling over the global
/// batch.
double loss_weight(const config::TrainConfig& train);

/// "elbo", "cross-entropy": the objective's name in the log.
std::string objective_name(const score::ScoreModel& model);

}  // namespace scorenet::train
