// Sampling a network with numbered steps by the scheduler that it came with (sample
// --spacing trained-steps).
#pragma once

#include <optional>

#include "framework/diffusion/sampler/trained_steps.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::score {

/// The key in the metadata of a converted snapshot: the unchanged text of its
/// scheduler_config.json.
inline constexpr const char* kSchedulerText = "diffusers.scheduler";

/// The steps of the model's config, with the choices of the scheduler in its snapshot. A snapshot
/// without a scheduler gets those of DDIMScheduler(): leading, the last step to clean data, x0
/// clipped to [-1, 1]. Throws ConfigError for a model without numbered steps, or whose schedule
/// does not preserve the variance.
diffusion::TrainedSteps trained_steps_of(const ScoreModel& model);

}  // namespace scorenet::score
