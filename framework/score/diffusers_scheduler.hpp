// The scheduler_config.json of a diffusers pipeline, both ways: what the numbers of a
// network's steps mean.
//
// Of the many schedulers, those belong to a network of numbered steps whose noise levels are the
// products of DDPM's betas and which is told the number of its step. They differ in how they
// sample, which is this program's own affair here; the keys that choose a sampler's order, its
// spacing by Karras and the like are passed over. What a file leaves out is read as
// DDIMScheduler.from_config reads it.
#pragma once

#include <nlohmann/json.hpp>

#include "framework/config/config.hpp"
#include "framework/diffusion/sampler/trained_steps.hpp"
#include "framework/score/json_keys.hpp"

namespace scorenet::score {

/// Fills the steps, their law and DDIM's choices in config.model, prediction and the continuous
/// schedule in config.diffusion, whose loss says whether the network speaks of its variance. Throws
/// ConfigError naming file, key, what was found and what is expected for another kind of scheduler
/// and for laws that this program does not have.
void read_scheduler(JsonKeys& keys, config::Config& config);

/// How DDIMScheduler would visit the steps of `law` by these keys: timestep_spacing, steps_offset,
/// set_alpha_to_one, clip_sample, clip_sample_range. Throws ConfigError as read_scheduler.
diffusion::TrainedSteps read_trained_steps(JsonKeys& keys, const diffusion::DiscreteSteps& law);

/// DDPMScheduler's config of a network with numbered steps. Throws CheckpointError for a prediction
/// that diffusers does not have.
nlohmann::ordered_json scheduler_json(const config::Config& config);

}  // namespace scorenet::score
