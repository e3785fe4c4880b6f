// What a network from elsewhere (model.type = torchscript) means for the other keys.
#pragma once

#include <string>
#include <vector>

#include "framework/config/config.hpp"

namespace scorenet::config {

/// Where the config leaves them open: schedule, prediction, loss and number of steps as its
/// convention says. Does nothing to other networks, nor for a convention that is no known one,
/// which convention_problems tells.
void follow_convention(Config& config);

/// Keys of such a network that are missing or contradict each other, a sentence each.
std::vector<std::string> convention_problems(const Config& config);

}  // namespace scorenet::config
