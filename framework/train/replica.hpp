// The second place of a run's checkpoints (checkpoint.replica): a folder of the same format, with a
// file `run` that says whose checkpoints they are.
#pragma once

#include <filesystem>

namespace scorenet::train {

/// Whether the folder holds checkpoints of the run in `outdir`. Throws ConfigError naming the other
/// run if they are another's, and for a folder that lies in `outdir`.
bool replica_is_of(const std::filesystem::path& replica, const std::filesystem::path& outdir);

/// Makes the folder and writes whose it is, where that is not said. Throws CheckpointError if it
/// cannot be written, and as replica_is_of.
void claim_replica(const std::filesystem::path& replica, const std::filesystem::path& outdir);

}  // namespace scorenet::train
