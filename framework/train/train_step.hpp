// One step of training: draw, loss, backward, reduce, clip, update, average. Two siblings:
//
//     HostStep     the host waits for each step and decides on it: every network, loss and
//                  exchange (host_step.hpp)
//     DeviceStep   the device decides, the host reads a step later: GPUs (device_step.hpp)
//
// Everything random is a function of (seed, step, slot in the global batch), and each example's
// loss is weighted by 1 / global batch, so any number of ranks and any micro-batch computes the
// same step up to rounding.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/comm/control_vector.hpp"
#include "framework/comm/make_communicator.hpp"
#include "framework/data/batch_loader.hpp"
#include "framework/score/score_model.hpp"
#include "framework/train/metrics_log.hpp"
#include "framework/train/objective.hpp"
#include "framework/train/spike_law.hpp"
#include "framework/train/step_clock.hpp"
#include "framework/train/update.hpp"

namespace scorenet::train {

/// What all ranks know after a step; equal on all of them.
struct StepReport {
  int64_t step = 0;  // from 0
  double loss = 0;   // mean over the global batch, as Objective::loss_per_example
  double level_loss[kLevelBins] =
      {};  // sums over the examples in each bin of the log-SNR range, cleanest first
  double level_count[kLevelBins] = {};
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  double data_wait_seconds = 0;     // mean over ranks
  double comm_exposed_seconds = 0;  // mean over ranks
  bool skipped = false;             // not finite, or a spike under on_spike = skip: weights
                                    // untouched
  bool overflow = false;            // skipped, since float16 gradients overflowed at their scale
  bool stop = false;                // some rank asked to stop
  bool save = false;                // rank zero's clock asks for a checkpoint
  bool writing = false;             // some rank writes its part of a checkpoint
  std::vector<int> write_failed;    // ranks whose part could not be written
  bool spike = false;               // far above the recent steps (spike_law.hpp); finite
  std::string trouble;              // skipped or a spike: what, which rank, samples and times
};

/// What a rank asks for or tells, beside its share of a step.
struct Wishes {
  bool stop = false;
  bool save = false;
  bool writing = false;       // not asked for, but told: its part of a checkpoint is under way,
  bool write_failed = false;  // or could not be written (saver.hpp)
};

class TrainStep {
 public:
  /// All arguments must outlive this.
  TrainStep(const score::ScoreModel& model, Objective& objective, Update& update, SpikeLaw& spikes,
            comm::Communicators& comms);
  virtual ~TrainStep() = default;
  TrainStep(const TrainStep&) = delete;
  TrainStep& operator=(const TrainStep&) = delete;

  /// Collective. `step` counts from 0. Returns the report of this step. A device that the host does
  /// not wait for gives that of the step before, and nothing in the first step. The same on all
  /// ranks.
  virtual std::optional<StepReport> run(const data::LoadedBatch& loaded, int64_t step,
                                        const Wishes& wishes) = 0;
  /// Waits for all steps and returns the report that run() has not returned. Call it before
  /// anything reads the weights. Collective.
  virtual std::optional<StepReport> settle() { return std::nullopt; }

  /// This rank's time by phases.
  StepClock& clock() { return clock_; }
  /// What the log should tell of the step that was run last, or nothing.
  std::string take_note() { return std::exchange(note_, {}); }

 protected:
  const score::ScoreModel& model_;
  Objective& objective_;
  Update& update_;
  SpikeLaw& spikes_;
  comm::Communicators& comms_;
  comm::ControlVector control_;
  StepClock clock_;
  std::string note_;
};

/// The sibling that fits model, objective, exchange and device; the same on all ranks. All
/// arguments must outlive it.
std::unique_ptr<TrainStep> make_train_step(const score::ScoreModel& model, Objective& objective,
                                           Update& update, SpikeLaw& spikes,
                                           comm::Communicators& comms);

}  // namespace scorenet::train
