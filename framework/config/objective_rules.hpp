// Which settings of the training objective may be combined ([diffusion] loss, schedule,
// time_sampling, train_steps, ..., [model] type).
#pragma once

#include <string>
#include <vector>

#include "framework/config/config.hpp"

namespace scorenet::config {

/// One sentence for each contradiction between keys; empty if there is none.
std::vector<std::string> objective_problems(const Config& config);

}  // namespace scorenet::config
