#include "framework/report/run_record.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>

#include "framework/config/parse.hpp"
#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/train/run_folder.hpp"

namespace scorenet::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string counted(int64_t count, const std::string& one, const std::string& many) {
  return count == 1 ? "1 " + one : std::to_string(count) + " " + many;
}

// The files of a folder with this beginning and end, by name.
std::vector<fs::path> files_of(const fs::path& folder, const std::string& prefix,
                               const std::string& suffix) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file(ignored) && name.starts_with(prefix) && name.ends_with(suffix))
      found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// The number behind a name's prefix; -1: there is none.
int64_t step_of(const fs::path& file, const std::string& prefix) {
  const std::string name = file.filename().string();
  char* end = nullptr;
  const long long step = std::strtoll(name.c_str() + prefix.size(), &end, 10);
  return end == name.c_str() + prefix.size() ? -1 : step;
}

// Whether the file is there; else that is noted.
bool is_there(const fs::path& file, RunRecord& run) {
  std::error_code ignored;
  if (fs::is_regular_file(file, ignored)) return true;
  run.missing.push_back(file.filename().string() + " is not there.");
  return false;
}

std::optional<config::Config> config_in(const fs::path& file, RunRecord& run) {
  try {
    return config::parse_file(file.string());
  } catch (const Error& error) {
    run.missing.push_back(error.what());
    return std::nullopt;
  }
}

void read_configs(const train::RunFolder& folder, RunRecord& run) {
  if (!is_there(folder.config(), run)) return;
  run.first_config = run.config = config_in(folder.config(), run);
  const auto later = files_of(folder.root(), "config-", ".toml");
  if (later.empty()) return;
  if (auto last = config_in(later.back(), run)) run.config = std::move(last);
}

// "network         unet, ...": a name, spaces up to the 17th place, a text.
constexpr size_t kNameWidth = 16;

bool is_start_line(const std::string& line) {
  return line.size() > kNameWidth && line[kNameWidth - 1] == ' ' && line[kNameWidth] != ' ' &&
         std::islower(static_cast<unsigned char>(line[0])) &&
         line.substr(0, kNameWidth).find("  ") != std::string::npos;
}

void read_log(const train::RunFolder& folder, RunRecord& run) {
  if (!is_there(folder.log(), run)) return;
  std::ifstream in(folder.log());
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("output folder ")) run.start.clear();
    if (!is_start_line(line)) continue;
    std::string name = line.substr(0, kNameWidth);
    name.erase(name.find_last_not_of(' ') + 1);
    run.start.emplace_back(name, line.substr(kNameWidth));
  }
}

void read_stats(const train::RunFolder& folder, RunRecord& run) {
  if (!is_there(folder.stats(), run)) return;
  std::ifstream in(folder.stats());
  int64_t broken = 0;
  for (std::string line; std::getline(in, line);) {
    json tick = json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool whole =
        tick.is_object() && tick.contains("step") && tick["step"].is_number_integer();
    if (whole)
      run.ticks.push_back(std::move(tick));
    else
      ++broken;
  }
  if (broken > 0)
    run.missing.push_back("stats.jsonl: " + counted(broken, "line is", "lines are") +
                          " not whole, and left out.");
  if (run.ticks.empty()) run.missing.push_back("stats.jsonl has no whole line.");
}

void read_metrics(const train::RunFolder& folder, RunRecord& run) {
  if (!is_there(folder.metrics(), run)) return;
  std::ifstream in(folder.metrics());
  int64_t broken = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("step,")) continue;
    const size_t name = line.find(','), value = line.rfind(',');
    char* end = nullptr;
    const double read =
        value == std::string::npos ? 0 : std::strtod(line.c_str() + value + 1, &end);
    if (value == std::string::npos || name == value || end == line.c_str() + value + 1) {
      ++broken;
      continue;
    }
    const std::string what = line.substr(name + 1, value - name - 1);
    if (what == "loss" || what == "grad_norm" || what == "images_per_sec") continue;  // ticks'
    run.metrics[what].emplace_back(std::atoll(line.c_str()), read);
  }
  if (broken > 0)
    run.missing.push_back("metrics.csv: " + counted(broken, "line is", "lines are") +
                          " not whole, and left out.");
}

void read_evaluation(const fs::path& root, const fs::path& file, int64_t step, RunRecord& run) {
  const std::string name = file.lexically_relative(root).string();
  std::ifstream in(file);
  json report = json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!report.is_object()) {
    run.missing.push_back(name + " is not a whole JSON object.");
    return;
  }
  // Classifiers' reports have no metrics; other programs' files neither.
  if (step < 0 && !report.contains("metrics")) return;
  run.evaluations.push_back({name, step, std::move(report)});
}

void read_evaluations(const train::RunFolder& folder, RunRecord& run) {
  const fs::path root = folder.root();
  const std::string prefix = "eval-";
  for (const fs::path& file : files_of(root / "eval", prefix, ".json"))
    read_evaluation(root, file, step_of(file, prefix), run);
  for (const fs::path& where : {root / "eval", root}) {
    for (const fs::path& file : files_of(where, "", ".json"))
      if (!file.filename().string().starts_with(prefix)) read_evaluation(root, file, -1, run);
  }
}

void read_pictures(const train::RunFolder& folder, RunRecord& run) {
  const fs::path samples = folder.root() / "samples";
  for (const fs::path& file : files_of(samples, "grid-", ".png")) {
    const int64_t step = step_of(file, "grid-");
    if (step >= 0) run.grids.push_back({step, file});
  }
  std::error_code ignored;
  if (fs::is_regular_file(folder.reals(), ignored)) run.reals = folder.reals();
}

}  // namespace

double number_of(const json& object, const std::string& field) {
  const auto found = object.is_object() ? object.find(field) : object.end();
  const bool is_number = object.is_object() && found != object.end() && found->is_number();
  return is_number ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

double RunRecord::kimg(int64_t step) const {
  if (config) return static_cast<double>(step * config->train.batch_size) / 1000.0;
  if (ticks.empty()) return static_cast<double>(step);
  const double last = number_of(ticks.back(), "step");
  return static_cast<double>(step) * number_of(ticks.back(), "kimg") / last;
}

RunRecord read_run(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    throw ConfigError(folder.string() + ": is no folder. Give the --outdir of a training.");
  RunRecord run;
  run.name = folder.string();
  const train::RunFolder files(folder);
  read_configs(files, run);
  read_log(files, run);
  read_stats(files, run);
  read_metrics(files, run);
  read_evaluations(files, run);
  read_pictures(files, run);
  return run;
}

}  // namespace scorenet::report
