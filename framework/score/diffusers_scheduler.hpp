// Reads and writes the scheduler_config.json of a diffusers pipeline: it gives the noise levels of
// a network's numbered steps.
//
// Accepted are the schedulers whose noise levels are the products of DDPM's betas and whose network
// gets the number of the step. They differ in how they sample. This program chooses its own
// sampler, so keys such as a sampler's order or Karras's spacing are ignored. A key that the file
// leaves out has the value that DDIMScheduler.from_config gives it.
#pragma once

#include <nlohmann/json.hpp>

#include "framework/config/config.hpp"
#include "framework/diffusion/sampler/trained_steps.hpp"
#include "framework/score/json_keys.hpp"

namespace scorenet::score {

/// Fills the steps, their law and DDIM's choices in config.model, and the prediction and the
/// continuous schedule in config.diffusion. config.diffusion.loss says whether the network predicts
/// a variance. Throws ConfigError naming file, key, what was found and what is expected, for
/// another kind of scheduler and for a law that this program does not have.
void read_scheduler(JsonKeys& keys, config::Config& config);

/// How DDIMScheduler visits the steps of `law` with these keys: timestep_spacing, steps_offset,
/// set_alpha_to_one, clip_sample, clip_sample_range. Throws ConfigError as read_scheduler.
diffusion::TrainedSteps read_trained_steps(JsonKeys& keys, const diffusion::DiscreteSteps& law);

/// DDPMScheduler's config of a network with numbered steps. Throws CheckpointError for a prediction
/// that diffusers does not have.
nlohmann::ordered_json scheduler_json(const config::Config& config);

}  // namespace scorenet::score
