// The configs in a run folder: that of the first start, and those of later starts that changed it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/train/run_folder.hpp"

namespace scorenet::train {

/// Writes config.toml if there is none. An existing config.toml is never changed: it may be the
/// user's own, with comments. A start whose resolved keys differ from those of the newest config
/// writes config-STEP.toml (or config-STEP-2.toml, -3, ... if that exists), with the changed keys
/// and both values in comments at its head. For rank zero. Returns those keys: "KEY = NEW, was
/// OLD". Throws files::FileError if it cannot be written.
std::vector<std::string> keep_config(const RunFolder& folder, const config::Config& config,
                                     int64_t step);

}  // namespace scorenet::train
