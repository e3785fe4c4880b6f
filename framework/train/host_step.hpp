// A training step that the host waits for, and on which the host decides.
#pragma once

#include "framework/train/train_step.hpp"

namespace scorenet::train {

class HostStep final : public TrainStep {
 public:
  using TrainStep::TrainStep;

  /// The report is always this step's.
  std::optional<StepReport> run(const data::LoadedBatch& loaded, int64_t step,
                                const Wishes& wishes) override;

 private:
  struct Draw;
  Draw draw(const data::LoadedBatch& loaded, int64_t step) const;
  void accumulate_gradients(const Draw& draw, int64_t step);
  void record(const Draw& draw, const torch::Tensor& loss, int64_t first);
  void observe_losses(int64_t step);

  std::string local_trouble_;
  std::vector<double> local_losses_;  // of this rank's examples
};

}  // namespace scorenet::train
