#include "framework/score/numbered_steps.hpp"

#include "framework/checkpoint/safetensors.hpp"
#include "framework/core/error.hpp"
#include "framework/score/diffusers_scheduler.hpp"

namespace scorenet::score {
namespace {

// The scheduler's text in the snapshot's file; "{}" where there is none, or the model comes
// from no file.
std::string scheduler_text(const ScoreModel& model) {
  if (!model.name.ends_with(".safetensors")) return "{}";
  const auto metadata = checkpoint::read_safetensors_header(model.name).metadata;
  const auto found = metadata.find(kSchedulerText);
  return found == metadata.end() ? "{}" : found->second;
}

}  // namespace

diffusion::TrainedSteps trained_steps_of(const ScoreModel& model) {
  const config::ModelConfig& c = model.config.model;
  if (model.is_analytic() || (c.type != "unet" && c.type != "torchscript") ||
      c.numbered.steps == 0) {
    throw ConfigError(
        "--spacing trained-steps: the network has no numbered steps (model.timesteps = 0), its "
        "input is the log-SNR. Use uniform, log-snr or edm.");
  }
  if (model.schedule->prior_variance() != 1.0) {
    throw ConfigError("--spacing trained-steps with diffusion.schedule = " +
                      model.config.diffusion.schedule.name +
                      ": numbered steps preserve the variance, this schedule does not. Use "
                      "uniform, log-snr or edm.");
  }
  try {
    JsonKeys keys(scheduler_text(model), model.name);
    return read_trained_steps(keys, c.numbered);
  } catch (const ConfigError& error) {  // the converter has refused it already: damage, then
    throw CheckpointError(std::string(error.what()) + " The snapshot is damaged.");
  }
}

}  // namespace scorenet::score
