#include "framework/train/kept_config.hpp"

#include <optional>

#include "framework/config/fields.hpp"
#include "framework/config/parse.hpp"
#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::train {
namespace {

// None where the file is damaged, or of a version whose keys are no longer known.
std::optional<config::Config> read(const std::filesystem::path& path) {
  try {
    return config::parse_file(path.string());
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::filesystem::path newest_kept(const RunFolder& folder) {
  std::filesystem::path newest = folder.config();
  std::error_code ignored;
  std::filesystem::file_time_type latest = std::filesystem::last_write_time(newest, ignored);
  for (const auto& entry : std::filesystem::directory_iterator(folder.root(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("config-") || entry.path().extension() != ".toml") continue;
    const auto written = entry.last_write_time(ignored);
    if (written <= latest) continue;
    latest = written;
    newest = entry.path();
  }
  return newest;
}

}  // namespace

std::vector<std::string> keep_config(const RunFolder& folder, const config::Config& config,
                                     int64_t step) {
  const std::string text = config::to_toml(config);
  if (!std::filesystem::exists(folder.config())) {
    files::write_file_atomically(folder.config(), text);
    return {};
  }
  const auto then = read(newest_kept(folder));
  if (then && config::to_toml(*then) == text) return {};
  int attempt = 1;
  while (std::filesystem::exists(folder.changed_config(step, attempt))) ++attempt;
  std::vector<std::string> changed;
  std::string head = "# The start at step " + std::to_string(step) + ".\n";
  for (const config::Change& change : config::changes(then.value_or(config), config)) {
    changed.push_back(change.sentence());
    head += "# " + changed.back() + "\n";
  }
  files::write_file_atomically(folder.changed_config(step, attempt), head + text);
  return changed;
}

}  // namespace scorenet::train
