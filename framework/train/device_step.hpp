// A step that the device does by itself: the host gives it its numbers, launches it, and reads the
// report while the next step runs.
//
//     host     draws times and labels, sends them with the pixels and what is told of these,
//              launches, reads the report of the step before
//     device   noise, loss, gradients; meanwhile each bucket's sum over the ranks
//              sum of the control vector
//              norm, finite or not, clipping, AdamW, EMA
//              with sharded moments: weights to all ranks
//
// Whether a step counts is a number on the device, made from the ranks' reduced flags: an update
// that must not happen is multiplied by it. Under train.on_spike = skip the host hands over limits
// (spike_law.hpp), which the device holds against the reduced loss and norm.
//
// After a few steps all of it is recorded as one graph (core/device_graph.hpp), unless
// run.graph = false; bits are the same. The hooks of backward start the sums while it is recorded,
// so that NCCL's stream is a branch of the graph. Where a rank cannot record sums, all ranks launch
// two graphs, with the sums between them. The clock's `other` is the host's work, its
// `communication` the wait for the device; of what happens within a graph it knows nothing.
#pragma once

#include <c10/core/Event.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/core/device_graph.hpp"
#include "framework/train/step_inputs.hpp"
#include "framework/train/train_step.hpp"

namespace scorenet::train {

class DeviceStep final : public TrainStep {
 public:
  /// Whether the device can do a step of these without the host; the same on all ranks.
  static bool fits(const score::ScoreModel& model, const Objective& objective, const Update& update,
                   const comm::Communicators& comms);

  using TrainStep::TrainStep;  // REQUIRES fits()
  ~DeviceStep() override;

  /// The report is that of the step before.
  std::optional<StepReport> run(const data::LoadedBatch& loaded, int64_t step,
                                const Wishes& wishes) override;
  std::optional<StepReport> settle() override;

 private:
  /// What the host keeps of a step until its report is there.
  struct UnderWay {
    int64_t step = 0;
    size_t place = 0;  // of its Return
    std::vector<int64_t> indices;
    torch::Tensor times;  // (B) float64, CPU
  };
  /// The results of a step on their way to the host.
  struct Return {
    torch::Tensor values;  // as results_
    comm::Work replayed;   // the graph with the sums over the ranks; done already without one
    std::unique_ptr<c10::Event> arrived;
  };

  void allocate(const data::LoadedBatch& loaded, const models::Conditions& given);
  UnderWay hand_over(const data::LoadedBatch& loaded, int64_t step, const Wishes& wishes);
  void fill_words(const std::vector<int64_t>& slots, const models::Conditions& given, int64_t step);
  void send_told(const data::LoadedBatch& loaded, const models::Conditions& given);
  void launch(Return& back);
  void compute();
  bool records_now() const;
  void record();
  std::string record_with_sums();
  reduce::ReducerStats traffic() const;
  bool alone() const { return comms_.host->size() == 1; }
  void accumulate_gradients(bool silent);
  NoisedExamples examples() const;
  torch::Tensor own_numbers() const;
  torch::Tensor weighted_sum(const torch::Tensor& loss) const;
  void sum_over_ranks(bool started);
  torch::Tensor is_no_spike(const torch::Tensor& norm) const;
  void update_weights();
  void send_results(const UnderWay& of);
  StepReport read_report(const UnderWay& of);
  torch::Tensor control_results() const;
  torch::Tensor norm_result()
      const;  // (1); sharded, before the sum: the square of this rank's part

  int64_t local_ = 0;  // examples of this rank

  // Inputs.
  std::optional<StepInput> pixels_;
  OptionalInput observed_;                                          // bool, as pixels
  OptionalInput told_numbers_, told_fields_, told_, told_augment_;  // of models::Conditions
  PackedInput numbers_;                                             // float64
  size_t times_ = 0, inverse_density_ = 0, weight_ = 0, before_ = 0, host_numbers_ = 0,
         learning_rate_ = 0, average_shares_ = 0, limits_ = 0;
  PackedInput words_;  // int64
  size_t slots_ = 0, labels_ = 0, noise_key_ = 0, probe_key_ = 0, dropout_keys_ = 0;

  // Losses (B), control vector, norm; float64, on the device. Two returns, for the step under way
  // and the one before.
  torch::Tensor results_;
  std::array<Return, 2> returns_;
  comm::Work control_sum_;

  int64_t steps_run_ = 0;
  std::unique_ptr<DeviceGraph> before_sums_, after_sums_, whole_;
  std::optional<UnderWay> under_way_;
};

}  // namespace scorenet::train
