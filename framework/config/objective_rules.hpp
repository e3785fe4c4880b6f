// Which keys of the training objective go together ([diffusion] loss, schedule, time_sampling,
// train_steps, ..., [model] type).
#pragma once

#include <string>
#include <vector>

#include "framework/config/config.hpp"

namespace scorenet::config {

/// One sentence for each combination that contradicts itself; empty if there is none.
std::vector<std::string> objective_problems(const Config& config);

}  // namespace scorenet::config
