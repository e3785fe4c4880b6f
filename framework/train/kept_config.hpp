// A run folder's configs: what the run was started with, and what later starts changed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/train/run_folder.hpp"

namespace scorenet::train {

/// Writes config.toml where there is none. A file of that name, which may be the user's own with
/// comments, is never touched: a start whose resolved keys are not those of the newest config kept
/// writes its own, config-STEP.toml (-2, -3, ... where that is taken), with the changed keys and
/// both values in comments at its head. Rank zero's. Returns those keys, "KEY = NEW, was OLD".
/// Throws files::FileError if it cannot be written.
std::vector<std::string> keep_config(const RunFolder& folder, const config::Config& config,
                                     int64_t step);

}  // namespace scorenet::train
