#include "launch/told_arguments.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <memory>
#include <mutex>
#include <sstream>

#include "framework/config/fields.hpp"
#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/data/condition_reader.hpp"

namespace scorenet::launch {
namespace {

using data::ConditionMap;

std::string known_names(const std::vector<ConditionMap>& conditions) {
  std::string text;
  for (const ConditionMap& condition : conditions)
    text += (text.empty() ? "" : ", ") + condition.name;
  return text.empty() ? "none" : text;
}

std::vector<ConditionMap>::const_iterator find(const std::vector<ConditionMap>& conditions,
                                               const std::string& name) {
  const auto found =
      std::find_if(conditions.begin(), conditions.end(),
                   [&](const ConditionMap& condition) { return condition.name == name; });
  if (found != conditions.end()) return found;
  throw ConfigError("--condition." + name + ": the model's conditions are " +
                    known_names(conditions) + ". Name one of them.");
}

// (1, K) float64.
torch::Tensor numbers_of(const ConditionMap& condition, const std::string& text) {
  const std::string where = "--condition." + condition.name + " " + text + ": ";
  if (condition.is_field()) {
    throw ConfigError(where + "is a field, which needs more than one value. Use --condition FILE.");
  }
  std::vector<double> values;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    double value = 0;
    const auto read = std::from_chars(part.data(), part.data() + part.size(), value);
    if (read.ec != std::errc() || read.ptr != part.data() + part.size() || !std::isfinite(value))
      throw ConfigError(where + "'" + part + "' is no finite number.");
    values.push_back(value);
  }
  const int64_t expected = condition.shape.empty() ? 0 : condition.shape[0];
  if (static_cast<int64_t>(values.size()) != expected) {
    throw ConfigError(where + "expected " + std::to_string(expected) +
                      " numbers, separated by commas.");
  }
  return torch::tensor(values, torch::kFloat64).unsqueeze(0);
}

// The conditions that FILE is asked for, by the names that they have there.
std::vector<ConditionMap> in_file(const std::string& file, std::vector<ConditionMap> conditions) {
  if (data::is_npy(file) && conditions.size() != 1) {
    throw ConfigError(
        "--condition " + file + ": holds one array, but the model has the conditions " +
        known_names(conditions) + ". Give an HDF5 file, or give the others with --condition.NAME.");
  }
  for (ConditionMap& condition : conditions) {
    if (data::is_npy(file))
      condition.array = file;
    else if (data::is_npy(condition.array))
      condition.array = condition.name;
  }
  return conditions;
}

std::unique_ptr<data::ConditionReaders> open_file(const std::string& file,
                                                  std::vector<ConditionMap> conditions,
                                                  const score::ScoreModel& model) {
  data::DataMap map = model.config.data.map;
  map.path = {file};
  data::SplitSource source{model.config.data.split, {file}};
  conditions = in_file(file, std::move(conditions));
  source.history = data::history_of(conditions);
  return std::make_unique<data::ConditionReaders>(conditions, map, source, model.example_shape,
                                                  data::SampleArrays(), /*blocks=*/32);
}

std::string state_of_file(const std::string& file) {
  std::error_code no_matter;
  std::ostringstream text;
  text << file << ' ' << std::filesystem::file_size(file, no_matter) << ' '
       << std::filesystem::last_write_time(file, no_matter).time_since_epoch().count();
  return text.str();
}

}  // namespace

std::vector<std::pair<std::string, std::string>> condition_arguments(const CLI::App& verb) {
  const std::string prefix = std::string("--") + config::kConditionPrefix;
  std::vector<std::pair<std::string, std::string>> found;
  std::vector<std::string> unknown;
  const std::vector<std::string> all = verb.remaining();
  for (size_t i = 0; i < all.size(); ++i) {
    if (!all[i].starts_with(prefix)) {
      unknown.push_back(all[i]);
      continue;
    }
    const size_t equals = all[i].find('=');
    const bool next = equals == std::string::npos;
    if (next && i + 1 == all.size()) throw ConfigError(all[i] + ": needs a value.");
    const std::string key = all[i].substr(prefix.size(), next ? equals : equals - prefix.size());
    found.emplace_back(key, next ? all[++i] : all[i].substr(equals + 1));
  }
  if (!unknown.empty()) throw CLI::ExtrasError(verb.get_name(), unknown);
  return found;
}

void apply_condition_arrays(std::vector<ConditionMap>& conditions,
                            const std::vector<std::pair<std::string, std::string>>& given) {
  const std::string suffix = ".array";
  for (const auto& [key, value] : given) {
    if (!key.ends_with(suffix)) {
      throw ConfigError("--condition." + key +
                        ": the data file gives the conditions here. Give --condition.NAME" +
                        suffix + " to name another array of it.");
    }
    const auto found = find(conditions, key.substr(0, key.size() - suffix.size()));
    conditions[static_cast<size_t>(found - conditions.begin())].array = value;
  }
}

Told told_samples(const ToldArguments& arguments, const score::ScoreModel& model) {
  Told told;
  if (!arguments.any()) return told;
  std::vector<ConditionMap> open = model.config.conditions;
  data::ConditionValues fixed;
  for (const auto& [name, text] : arguments.values) {
    const ConditionMap condition = *find(model.config.conditions, name);
    fixed[name] = numbers_of(condition, text);
    std::erase_if(open, [&](const ConditionMap& one) { return one.name == condition.name; });
    told.settings += " " + name + " " + text;
  }
  std::shared_ptr<data::ConditionReaders> readers;
  if (!arguments.file.empty()) {
    if (open.empty()) {
      throw ConfigError("--condition " + arguments.file + ": the model's conditions are " +
                        known_names(model.config.conditions) +
                        (fixed.empty() ? "" : ", and each has a value already") +
                        ". Leave it out.");
    }
    readers = open_file(arguments.file, open, model);
    told.rows = readers->size();
    told.settings += " " + state_of_file(arguments.file);
  }
  const auto reading = std::make_shared<std::mutex>();
  told.samples.read = [fixed, readers, reading](int64_t first, int64_t count) {
    data::ConditionValues values;
    const std::lock_guard lock(*reading);
    if (readers) values = readers->read(slot_range(first, count));
    for (const auto& [name, numbers] : fixed)
      values[name] = numbers.expand({count, numbers.size(1)}).contiguous();
    return values;
  };
  told.samples.where = [readers](const std::string& name) {
    const bool is_read = readers && readers->has(name);
    return is_read ? readers->where(name) : "--condition." + name;
  };
  return told;
}

}  // namespace scorenet::launch
