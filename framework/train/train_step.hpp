// One step of training: draw, loss, backward, reduce, clip, update, average.
//
// Everything random is a function of (seed, step, slot in the global batch), and each example's
// loss is weighted by 1 / global batch, so any number of ranks and any micro-batch computes the
// same step up to rounding.
#pragma once

#include <string>

#include "framework/comm/communicator.hpp"
#include "framework/comm/control_vector.hpp"
#include "framework/data/batch_loader.hpp"
#include "framework/score/score_model.hpp"
#include "framework/train/objective.hpp"
#include "framework/train/step_clock.hpp"
#include "framework/train/update.hpp"

namespace scorenet::train {

/// What all ranks know after a step; equal on all of them.
struct StepReport {
  double loss = 0;  // mean over the global batch, as Objective::loss_per_example
  double quartile_loss[4] =
      {};  // sums over the examples in each quarter of the log-SNR range, cleanest first
  double quartile_count[4] = {};
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  double data_wait_seconds = 0;     // mean over ranks
  double comm_exposed_seconds = 0;  // mean over ranks
  bool skipped = false;             // something was not finite: weights untouched
  bool overflow = false;            // skipped, since float16 gradients overflowed at their scale
  bool stop = false;                // some rank asked to stop
  std::string trouble;              // skipped: which rank, samples and times
};

class TrainStep {
 public:
  /// All arguments must outlive this.
  TrainStep(const score::ScoreModel& model, Objective& objective, Update& update,
            comm::Communicator& comm);

  /// Collective. `step` counts from 0. stop_wanted: this rank was asked to stop (by a signal).
  StepReport run(const data::LoadedBatch& loaded, int64_t step, bool stop_wanted);

  /// Where this rank's time goes.
  StepClock& clock() { return clock_; }

 private:
  struct Draw;
  Draw draw(const data::LoadedBatch& loaded, int64_t step) const;
  void accumulate_gradients(const Draw& draw, int64_t step);
  void record(const Draw& draw, const torch::Tensor& loss, int64_t first);
  StepReport report_of(int64_t step, double norm);
  void observe_losses(int64_t step);

  const score::ScoreModel& model_;
  Objective& objective_;
  Update& update_;
  comm::Communicator& comm_;
  comm::ControlVector control_;
  std::string local_trouble_;
  StepClock clock_;
};

}  // namespace scorenet::train
