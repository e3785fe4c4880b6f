#include "framework/train/train_step.hpp"

#include "framework/train/device_step.hpp"
#include "framework/train/host_step.hpp"

namespace scorenet::train {

std::unique_ptr<TrainStep> make_train_step(const score::ScoreModel& model, Objective& objective,
                                           Update& update, comm::Communicators& comms) {
  if (DeviceStep::fits(model, objective, update, comms))
    return std::make_unique<DeviceStep>(model, objective, update, comms);
  return std::make_unique<HostStep>(model, objective, update, *comms.host);
}

}  // namespace scorenet::train
