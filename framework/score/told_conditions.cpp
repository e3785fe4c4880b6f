#include "framework/score/told_conditions.hpp"

#include <algorithm>

#include "framework/config/fields.hpp"
#include "framework/core/check.hpp"
#include "framework/core/pixels.hpp"
#include "framework/data/augment.hpp"
#include "framework/score/foreign_network.hpp"
#include "framework/transform/numbers.hpp"

namespace scorenet::score {

std::string statistics_prefix(const std::string& name) {
  return config::kConditionPrefix + name + ".";
}

namespace {

using data::ConditionMap;

// Without transforms of their own, earlier samples are what the network sees samples as.
bool as_samples(const ConditionMap& condition) {
  return condition.of_samples() && condition.transforms.empty();
}

// A config may come from anywhere: no product leaves 64 bits.
int64_t numbers_in(const ConditionMap& condition) {
  constexpr int64_t kMost = int64_t{1} << 31;
  int64_t numbers = 1;
  for (const int64_t size : condition.shape) {
    if (size >= 1 && size <= kMost / numbers) {
      numbers *= size;
      continue;
    }
    throw ConfigError(statistics_prefix(condition.name) +
                      "shape = " + shape_string(condition.shape) +
                      ": expected sizes >= 1 whose product is below 2^31.");
  }
  return numbers;
}

torch::Tensor earlier_samples(const ScoreModel& model, const torch::Tensor& stored,
                              const transform::Source& source) {
  if (model.transforms.is_plain())
    return model.traits.kind == data::DataKind::discrete
               ? in_model_range(stored, model.traits.levels)
               : stored;
  std::vector<torch::Tensor> steps;
  for (const torch::Tensor& step : stored.split(model.example_shape[0], 1))
    steps.push_back(model.transforms.forward(step, source).x);
  return torch::cat(steps, 1);
}

// (B, F, ...) on the grid of the samples.
torch::Tensor on_grid(torch::Tensor field, const std::vector<int64_t>& example_shape) {
  for (size_t axis = 1; axis < example_shape.size(); ++axis) {
    const auto at = static_cast<int64_t>(axis) + 1;
    if (const int64_t finer = example_shape[axis] / field.size(at); finer > 1)
      field = field.repeat_interleave(finer, at);
  }
  return field;
}

torch::Tensor joined(const std::vector<torch::Tensor>& parts) {
  if (parts.empty()) return {};
  return parts.size() == 1 ? parts[0] : torch::cat(parts, 1);
}

void check_shape(const ConditionMap& condition, const torch::Tensor& values,
                 const std::string& where) {
  if (values.sizes().slice(1) == c10::IntArrayRef(condition.shape)) return;
  throw DataError(where + ": condition " + condition.name + " of shape " +
                  shape_string(values.sizes().slice(1)) + ", but the network expects " +
                  shape_string(condition.shape) + ". Give values of that shape.");
}

}  // namespace

// Of conditions, only earlier samples know data.missing.
std::map<std::string, transform::ConditionChain> condition_chains(const config::Config& config) {
  std::map<std::string, transform::ConditionChain> chains;
  for (const data::ConditionMap& condition : config.conditions) {
    chains.emplace(condition.name,
                   transform::ConditionChain(condition.transforms,
                                             condition.of_samples() ? config.data.missing : "",
                                             statistics_prefix(condition.name) + "transforms"));
  }
  return chains;
}

models::ConditionSizes condition_sizes(const config::Config& config) {
  models::ConditionSizes sizes;
  if (config.data.augment > 0) sizes.augment = data::kAugmentNumbers;
  for (const ConditionMap& condition : config.conditions) {
    const std::string key = statistics_prefix(condition.name);
    if (condition.shape.empty()) {
      throw ConfigError(key +
                        "shape is not known without the data. Give it, for example [1] for one "
                        "number.");
    }
    const transform::ConditionChain chain(condition.transforms, "", key + "transforms");
    const int64_t numbers = numbers_in(condition);
    if (condition.is_field())
      sizes.channels += chain.width(condition.shape[0]);
    else
      sizes.numbers += chain.width(numbers);
  }
  return sizes;
}

void take_condition_shapes(config::Config& config, const data::ImageDataset& dataset) {
  for (ConditionMap& condition : config.conditions) {
    const auto& found = dataset.condition_shape(condition.name);
    if (!condition.shape.empty() && condition.shape != found) {
      throw ConfigError(statistics_prefix(condition.name) +
                        "shape = " + shape_string(condition.shape) + ": " +
                        dataset.condition_where(condition.name) + " has " + shape_string(found) +
                        " for each sample. Leave the key out.");
    }
    condition.shape = found;
  }
}

models::Conditions told_conditions(const ScoreModel& model, const data::ConditionValues& values,
                                   const ConditionOrigin& origin) {
  std::vector<torch::Tensor> numbers, fields;
  for (const ConditionMap& condition : model.config.conditions) {
    const torch::Tensor& stored = values.at(condition.name);
    const transform::Source source{origin.where(condition.name), origin.indices};
    check_shape(condition, stored, source.where);
    const torch::Tensor told = transform::as_float32(
        as_samples(condition) ? earlier_samples(model, stored, source)
                              : model.conditions.at(condition.name).forward(stored, source));
    if (condition.is_field())
      fields.push_back(on_grid(told, model.example_shape));
    else
      numbers.push_back(told);
  }
  models::Conditions given;
  given.numbers = joined(numbers);
  given.fields = joined(fields);
  return given;
}

models::Conditions told_of_batch(const ScoreModel& model, const data::ImageDataset& dataset,
                                 const data::Batch& batch) {
  if (model.is_analytic()) return {};
  models::Conditions given = told_conditions(
      model, batch.conditions,
      {[&dataset](const std::string& name) { return dataset.condition_where(name); },
       batch.indices});
  const bool knows_classes = model.config.model.num_classes > 0 && !model.is_classifier();
  if (knows_classes) given.labels = batch.labels;
  return given;
}

models::Conditions told_nothing(const ScoreModel& model, int64_t batch) {
  const bool knows_classes = !model.is_analytic() && model.config.model.num_classes > 0;
  if (!knows_classes || model.is_classifier()) return {};
  return torch::full({batch}, model.config.model.num_classes, torch::kInt64);
}

transform::Conditions divisors(const ScoreModel& model, const data::ConditionValues& values) {
  transform::Conditions all;
  for (const std::string& name : transform::conditions_of(model.transforms.entries())) {
    const auto found = values.find(name);
    if (found == values.end()) {
      throw ConfigError("data.transforms: divide(" + name + ") needs the condition " + name +
                        " of each sample. Give it with --condition FILE or --condition." + name +
                        ".");
    }
    all[name] = transform::as_float64(found->second).reshape({found->second.size(0), -1});
  }
  return all;
}

namespace {

torch::Tensor bytes_of(const std::string& text) {
  const auto size = static_cast<int64_t>(text.size());
  const torch::Tensor bytes = torch::empty({size}, torch::kUInt8);
  std::copy(text.begin(), text.end(), bytes.data_ptr<uint8_t>());
  return bytes;
}

}  // namespace

std::vector<std::pair<std::string, torch::Tensor>> statistics_of(const ScoreModel& model) {
  auto all = model.transforms.state();
  for (const auto& [name, chain] : model.conditions)
    for (const auto& [key, values] : chain.chain().state())
      all.emplace_back(statistics_prefix(name) + key, values);
  if (!model.is_analytic() && model.trained().foreign)
    all.emplace_back(kArchiveName, bytes_of(model.trained().foreign->archive()));
  return all;
}

void restore_statistics(ScoreModel& model, const std::map<std::string, torch::Tensor>& state,
                        const std::string& where) {
  model.transforms.restore(state, model.example_shape, where);
  for (const ConditionMap& condition : model.config.conditions) {
    const std::string prefix = statistics_prefix(condition.name);
    std::map<std::string, torch::Tensor> own;
    for (const auto& [name, values] : state)
      if (name.starts_with(prefix)) own[name.substr(prefix.size())] = values;
    model.conditions.at(condition.name).chain().restore(own, condition.shape, where);
  }
}

bool lacks_statistics(const ScoreModel& model) {
  return !model.transforms.unmeasured().empty() ||
         std::any_of(model.conditions.begin(), model.conditions.end(),
                     [](const auto& named) { return !named.second.chain().unmeasured().empty(); });
}

bool is_statistic(const std::string& name) {
  return name.starts_with(transform::kStatePrefix) || name.starts_with(config::kConditionPrefix) ||
         name == kArchiveName;
}

}  // namespace scorenet::score
