#include "framework/train/snapshot_retention.hpp"

#include <charconv>
#include <map>
#include <set>

namespace scorenet::train {
namespace {

namespace fs = std::filesystem;

std::set<int64_t> kept_steps(const std::map<int64_t, std::vector<fs::path>>& snapshots,
                             const SnapshotRule& rule) {
  std::set<int64_t> kept, stretches;
  if (rule.keep_every > 0) {
    for (const auto& [step, paths] : snapshots)
      if (stretches.insert(step / rule.keep_every).second) kept.insert(step);
  }
  auto newest = snapshots.rbegin();
  for (int64_t i = 0; i < rule.keep && newest != snapshots.rend(); ++i, ++newest)
    kept.insert(newest->first);
  return kept;
}

}  // namespace

std::optional<int64_t> step_of_snapshot(const fs::path& path) {
  constexpr std::string_view kStart = "network-";
  const std::string name = path.filename().string();
  if (!name.starts_with(kStart) || path.extension() != ".safetensors") return std::nullopt;
  int64_t step = 0;
  const char* const end = name.data() + name.size();
  const auto read = std::from_chars(name.data() + kStart.size(), end, step);
  if (read.ec != std::errc() || read.ptr == end || *read.ptr != '-') return std::nullopt;
  return step;
}

std::vector<std::string> remove_old_snapshots(const fs::path& folder, int64_t step,
                                              const SnapshotRule& rule) {
  std::vector<std::string> problems;
  if (rule.keep == 0) return problems;
  std::map<int64_t, std::vector<fs::path>> snapshots;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto of = step_of_snapshot(entry.path());
    if (of && *of <= step) snapshots[*of].push_back(entry.path());
  }
  const std::set<int64_t> kept = kept_steps(snapshots, rule);
  for (const auto& [of, paths] : snapshots) {
    if (kept.contains(of)) continue;
    for (const fs::path& path : paths) {
      if (fs::remove(path, error) || !error) continue;
      problems.push_back(path.string() + ": cannot be removed (" + error.message() +
                         "). Remove it by hand if the disk fills.");
    }
  }
  return problems;
}

}  // namespace scorenet::train
