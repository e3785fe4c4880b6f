// Which snapshots of a run stay.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace scorenet::train {

struct SnapshotRule {
  int64_t keep = 0;        // steps, the newest; 0: all
  int64_t keep_every = 0;  // of the older ones the first in every so many steps; 0: none
};

/// The step in "network-0000512-LABEL.safetensors"; nothing for other names.
std::optional<int64_t> step_of_snapshot(const std::filesystem::path& path);

/// Removes snapshots ("network-0000512-ema0.999.safetensors") of steps up to `step` that the rule
/// does not keep. Other files stay. Returns a sentence for each that could not be removed.
std::vector<std::string> remove_old_snapshots(const std::filesystem::path& folder, int64_t step,
                                              const SnapshotRule& rule);

}  // namespace scorenet::train
