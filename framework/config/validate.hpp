// What a config must satisfy before anything is built: bounds, choices, and rules between keys.
#pragma once

#include <string>
#include <vector>

#include "framework/config/config.hpp"

namespace scorenet::config {

/// One sentence for each problem; empty if there is none. world_size: ranks that will train.
std::vector<std::string> problems(const Config& config, int world_size);

/// Throws ConfigError with all problems, one a line.
void validate(const Config& config, int world_size);

/// Steps to train: train.steps, or train.duration_kimg in steps, rounded up.
int64_t total_steps(const TrainConfig& train);

/// Steps of linear warm-up: warmup_steps, or enough for lr_rampup_kimg.
int64_t warmup_steps(const TrainConfig& train);

}  // namespace scorenet::config
