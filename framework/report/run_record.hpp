// What a run folder holds, as far as it can be read.
//
// A folder may be of a run that was killed, of an earlier version, or damaged: what is not there or
// not whole is named, and the rest is taken.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/config/config.hpp"

namespace scorenet::report {

struct EvaluationRecord {
  std::string file;   // relative to the run folder
  int64_t step = -1;  // -1: a report that `evaluate --json` wrote there
  nlohmann::json report;
};

struct GridRecord {
  int64_t step = 0;
  std::filesystem::path file;
};

struct RunRecord {
  std::string name;                                    // the folder as it was given
  std::optional<config::Config> first_config, config;  // of the first and the last start
  /// The last start's lines in log.txt: {"network", "unet, 1234 parameters, ..."}.
  std::vector<std::pair<std::string, std::string>> start;
  std::vector<nlohmann::json> ticks;  // of stats.jsonl, in order; each has a whole `step`
  /// Of metrics.csv: the evaluations' numbers by name.
  std::map<std::string, std::vector<std::pair<int64_t, double>>> metrics;
  std::vector<EvaluationRecord> evaluations;  // those of `evaluate` last
  std::vector<GridRecord> grids;              // of the moving average, by step
  std::optional<std::filesystem::path> reals;
  std::vector<std::string> missing;  // sentences

  /// Thousands of images until this step.
  double kimg(int64_t step) const;
};

/// Throws ConfigError if `folder` is no folder.
RunRecord read_run(const std::filesystem::path& folder);

/// A tick's number; NaN if it has none of this name.
double number_of(const nlohmann::json& object, const std::string& field);

}  // namespace scorenet::report
