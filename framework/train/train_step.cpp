#include "framework/train/train_step.hpp"

#include "framework/train/device_step.hpp"
#include "framework/train/host_step.hpp"
#include "framework/train/step_control.hpp"

namespace scorenet::train {

TrainStep::TrainStep(const score::ScoreModel& model, Objective& objective, Update& update,
                     SpikeLaw& spikes, comm::Communicators& comms)
    : model_(model),
      objective_(objective),
      update_(update),
      spikes_(spikes),
      comms_(comms),
      control_(step_control_fields(model.config.train.batch_size, objective.has_history()),
               comms.host->rank(), comms.host->size()),
      clock_(model.config.run.timeline) {}

std::unique_ptr<TrainStep> make_train_step(const score::ScoreModel& model, Objective& objective,
                                           Update& update, SpikeLaw& spikes,
                                           comm::Communicators& comms) {
  if (DeviceStep::fits(model, objective, update, comms))
    return std::make_unique<DeviceStep>(model, objective, update, spikes, comms);
  return std::make_unique<HostStep>(model, objective, update, spikes, comms);
}

}  // namespace scorenet::train
