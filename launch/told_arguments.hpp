// What samples are told beside a class: --condition FILE, a row a sample, and --condition.NAME
// VALUES, the same for all.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/evaluate/generate.hpp"

namespace scorenet::launch {

struct ToldArguments {
  std::string file;
  std::vector<std::pair<std::string, std::string>> values;  // by name, as text: "1.5,2"

  bool any() const { return !file.empty() || !values.empty(); }
};

/// The arguments of the form --condition.KEY VALUE or --condition.KEY=VALUE among those that `verb`
/// does not know. Throws CLI::ExtrasError naming any other, ConfigError for one without a value.
std::vector<std::pair<std::string, std::string>> condition_arguments(const CLI::App& verb);

/// --condition.NAME.array: another array than that of the config, for evaluate. Throws ConfigError
/// for a name that the model does not have.
void apply_condition_arrays(std::vector<data::ConditionMap>& conditions,
                            const std::vector<std::pair<std::string, std::string>>& given);

struct Told {
  evaluate::ToldSamples samples;
  int64_t rows = -1;     // of FILE; -1: there is none, or all its rows are the same
  std::string settings;  // as text: what the samples depend on
};

/// Opens FILE. A condition is read from the array of its name in the model's config; where that is
/// a .npy file, from the data set NAME of FILE. A FILE.npy holds the only condition that VALUES
/// leaves open. Throws ConfigError for names and numbers that the model is not told, DataError as
/// data::ConditionReaders.
Told told_samples(const ToldArguments& arguments, const score::ScoreModel& model);

}  // namespace scorenet::launch
