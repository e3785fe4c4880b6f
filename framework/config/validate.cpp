#include "framework/config/validate.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <sstream>

#include "framework/config/convention_rules.hpp"
#include "framework/config/fields.hpp"
#include "framework/config/objective_rules.hpp"
#include "framework/config/plain_text.hpp"
#include "framework/config/suggest.hpp"
#include "framework/core/error.hpp"
#include "framework/transform/condition_chain.hpp"

namespace scorenet::config {
namespace {

struct InBounds {
  const Field& field;
  bool inside(double value) const { return value >= field.min && value <= field.max; }

  bool operator()(const bool*) const { return true; }
  bool operator()(const std::vector<bool>*) const { return true; }
  bool operator()(const std::vector<std::string>* v) const {
    return std::all_of(v->begin(), v->end(), [this](const auto& one) { return (*this)(&one); });
  }
  bool operator()(const std::optional<int64_t>* v) const {
    return !*v || inside(static_cast<double>(**v));
  }
  bool operator()(const data::SplitTable*) const { return true; }
  bool operator()(const int64_t* v) const { return inside(static_cast<double>(*v)); }
  bool operator()(const double* v) const { return inside(*v); }
  bool operator()(const std::string* v) const {
    return field.choices.empty() || std::count(field.choices.begin(), field.choices.end(), *v);
  }
  template <typename T>
  bool operator()(const std::vector<T>* v) const {
    return std::all_of(v->begin(), v->end(), [&](T x) { return inside(static_cast<double>(x)); });
  }
};

// What cannot be written to a config, a report or a log as it stands.
struct Plain {
  std::string operator()(const std::string* v) const { return not_plain_because(*v); }
  std::string operator()(const std::vector<std::string>* v) const {
    for (const std::string& text : *v)
      if (const std::string why = not_plain_because(text); !why.empty()) return why;
    return "";
  }
  std::string operator()(const data::SplitTable* v) const {
    for (const auto& [split, entries] : *v) {
      std::vector<std::string> texts = entries;
      texts.push_back(split);
      if (const std::string why = (*this)(&texts); !why.empty()) return why;
    }
    return "";
  }
  std::string operator()(const auto*) const { return ""; }
};

// The nearest of the choices, where there are any and one is near.
struct Suggest {
  const Field& field;
  std::string operator()(const std::string* v) const { return suggest_name(*v, field.choices); }
  std::string operator()(const auto*) const { return ""; }
};

// Halved so often, no image is left; each level costs memory before its weights are looked at.
constexpr size_t kMostLevels = 16;
constexpr size_t kMostLayers = 1000;

void check_field(const Field& field, std::vector<std::string>& out) {
  const std::string set = " Set it in the config file or with --" + field.name + ".";
  if (const std::string why = std::visit(Plain{}, field.value); !why.empty()) {
    out.push_back(field.name + " = " + value_string(field) + ": " + why +
                  ", which a saved config cannot hold. Rename the file or split.");
  } else if (!std::visit(InBounds{field}, field.value)) {
    out.push_back(field.name + " = " + value_string(field) + ": must be " + expectation(field) +
                  "." + did_you_mean(std::visit(Suggest{field}, field.value)) + set);
  }
}

void check_axes(const ModelConfig& model, std::vector<std::string>& out) {
  if (model.padding.empty())
    out.push_back("model.padding = []: expected one name for all axes, or one per axis.");
  if (model.type == "mlp" && model.padding != ModelConfig().padding)
    out.push_back("model.padding with model.type = mlp: points have no axes. Leave it out.");
}

void check_model(const ModelConfig& model, std::vector<std::string>& out) {
  check_axes(model, out);
  if (model.unet.channels.size() > kMostLevels) {
    out.push_back("model.channels has " + std::to_string(model.unet.channels.size()) +
                  " levels: expected at most " + std::to_string(kMostLevels) + ".");
  }
  if (model.mlp.hidden.size() > kMostLayers) {
    out.push_back("model.hidden has " + std::to_string(model.mlp.hidden.size()) +
                  " layers: expected at most " + std::to_string(kMostLayers) + ".");
  }
  if (model.type == "unet" && model.unet.channels.empty()) {
    out.push_back("model.channels = []: expected at least one level.");
  }
  if (model.type == "unet" && model.unet.attention.size() != model.unet.channels.size()) {
    out.push_back("model.attention has " + std::to_string(model.unet.attention.size()) +
                  " flags, model.channels " + std::to_string(model.unet.channels.size()) +
                  " levels. Give one flag per level.");
  }
  const size_t flags = model.unet.residual_resampling.size();
  if (flags != 0 && flags != model.unet.channels.size()) {
    out.push_back("model.residual_resampling has " + std::to_string(flags) +
                  " flags, model.channels " + std::to_string(model.unet.channels.size()) +
                  " levels. Give one flag per level, or none.");
  }
  if (model.type == "mlp" && model.mlp.hidden.empty())
    out.push_back("model.hidden = []: expected at least one width.");
  if (model.type == "gaussian_mixture" && model.file.empty()) {
    out.push_back(
        "model.file is empty: a gaussian_mixture needs an HDF5 file with weights, means and "
        "covariances.");
  }
}

bool is_number(const std::string& text) {
  double value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc() && read.ptr == text.data() + text.size();
}

void check_values(const DataConfig& data, std::vector<std::string>& out) {
  if (data.levels == 1) {
    out.push_back(
        "data.levels = 1: one level holds no information. Give 2, 256 or 65536, or 0 for "
        "continuous data.");
  }
  if (!data.missing.empty() && !is_number(data.missing)) {
    out.push_back("data.missing = \"" + data.missing +
                  "\": must be \"nan\" or the number that marks missing values.");
  }
  for (auto& sentence : transform::problems_of(data.transforms)) out.push_back(std::move(sentence));
  if (data.levels > 0 && !data.transforms.empty()) {
    out.push_back(
        "data.transforms with data.levels = " + std::to_string(data.levels) +
        ": discrete data are scaled to [-1, 1] and take no transforms. Set data.levels = 0 to use "
        "the data as real numbers, or leave the transforms out.");
  }
  if (data.levels > 0 && !data.missing.empty()) {
    out.push_back("data.missing = \"" + data.missing +
                  "\" with data.levels = " + std::to_string(data.levels) +
                  ": only continuous data may have missing values. Set data.levels = 0.");
  }
}

const data::ConditionMap* find_condition(const Config& config, const std::string& name) {
  for (const data::ConditionMap& condition : config.conditions)
    if (condition.name == name) return &condition;
  return nullptr;
}

std::string shown(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

// What the network is told of a change has to be all that changes.
void check_augment(const Config& config, std::vector<std::string>& out) {
  if (config.data.augment == 0) return;
  const std::string key = "data.augment = " + shown(config.data.augment) + " with ";
  if (config.model.type != "unet" && config.model.type != "dit") {
    out.push_back(key + "model.type = " + config.model.type +
                  ": only unet and dit are told how an image was augmented. Leave it out.");
  }
  if (!config.data.missing.empty()) {
    out.push_back(key + "data.missing = \"" + config.data.missing +
                  "\": what is missing cannot be resampled. Leave one of them out.");
  }
  for (const data::ConditionMap& condition : config.conditions) {
    if (!condition.is_field()) continue;
    out.push_back(key + "condition." + condition.name +
                  ".kind = field: the field would stay where the image moves. Leave one of them "
                  "out.");
  }
}

// data.transforms may divide by the numbers that a sample brings.
void check_divisors(const Config& config, std::vector<std::string>& out) {
  for (const std::string& name : transform::conditions_of(config.data.transforms)) {
    const data::ConditionMap* const condition = find_condition(config, name);
    if (condition && !condition->is_field()) continue;
    out.push_back("data.transforms: divide(" + name + ") divides by a vector condition, and " +
                  (condition ? "condition." + name + ".kind is field"
                             : "no section [condition." + name + "] names it") +
                  ". Give it with kind = vector and its array.");
  }
}

void check_conditions(const Config& config, std::vector<std::string>& out) {
  for (auto& sentence : data::problems(config.conditions)) out.push_back(std::move(sentence));
  for (const data::ConditionMap& condition : config.conditions) {
    const std::string key = "condition." + condition.name + ".";
    for (auto& sentence : transform::condition_problems(condition.transforms, key + "transforms"))
      out.push_back(std::move(sentence));
    const bool as_samples = condition.of_samples() && condition.transforms.empty();
    if (as_samples && !transform::conditions_of(config.data.transforms).empty()) {
      out.push_back(
          key +
          "steps: without transforms of its own it takes data.transforms, which divide by a "
          "condition that earlier samples do not have. Give " +
          key + "transforms.");
    }
    if (condition.is_field() && config.model.type == "mlp") {
      out.push_back(
          key +
          "kind = field with model.type = mlp: points have no grid for a field. Set kind = "
          "vector, or take unet or dit.");
    }
  }
  check_divisors(config, out);
}

// name: of what has two ends, such as "t_".
void check_ends(const std::string& name, double low, double high, std::vector<std::string>& out) {
  if (low < high) return;
  out.push_back("diffusion." + name + "min = " + shown(low) + ": must be below diffusion." + name +
                "max = " + shown(high) + ". Change one of them.");
}

void check_diffusion(const DiffusionConfig& d, std::vector<std::string>& out) {
  const diffusion::ScheduleOptions& s = d.schedule;
  if (s.t_min >= 0 && s.t_max >= 0) check_ends("t_", s.t_min, s.t_max, out);
  check_ends("gamma_", s.gamma_min, s.gamma_max, out);
  check_ends("sigma_", s.sigma_min, s.sigma_max, out);
}

void check_duration(const TrainConfig& train, std::vector<std::string>& out) {
  const optim::LrScheduleOptions& rate = train.rate;
  const bool in_images = train.lr_rampup_kimg >= 0;
  if (in_images && rate.warmup_steps != optim::LrScheduleOptions().warmup_steps) {
    out.push_back("train.warmup_steps = " + std::to_string(rate.warmup_steps) +
                  " with train.lr_rampup_kimg = " + shown(train.lr_rampup_kimg) +
                  ": both say how long the warm-up is. Leave one of them out.");
  }
  const bool falls = optim::needs_last_step(rate.law);
  if (falls && total_steps(train) > 0 && total_steps(train) <= warmup_steps(train)) {
    out.push_back((in_images ? "train.lr_rampup_kimg = " + shown(train.lr_rampup_kimg) + ", " +
                                   std::to_string(warmup_steps(train)) + " steps"
                             : "train.warmup_steps = " + std::to_string(rate.warmup_steps)) +
                  ": train.lr_schedule = " + rate.law + " needs fewer warm-up steps than the " +
                  std::to_string(total_steps(train)) + " steps of the run.");
  }
}

void check_batch(const TrainConfig& train, int world_size, std::vector<std::string>& out) {
  const std::string batch = "train.batch_size = " + std::to_string(train.batch_size);
  const std::string ranks = std::to_string(world_size) + " ranks";
  if (train.batch_size < world_size) {
    out.push_back(batch + ": smaller than the " + ranks +
                  ". Use a batch of at least one image per rank.");
    return;
  }
  if (train.uneven || train.batch_size % world_size == 0) return;
  const int64_t below = train.batch_size / world_size * world_size;
  out.push_back(batch + ": not divisible by " + ranks + "; the nearest valid totals are " +
                std::to_string(below) + " and " + std::to_string(below + world_size) +
                ". Or set train.uneven = true: shares then differ by one image and are weighted by "
                "true counts.");
}

// Ways of summing gradients that exclude one another.
void check_gradient_sum(const Config& config, std::vector<std::string>& out) {
  const bool compressed = config.comm.compression != "none";
  if (config.comm.canonical && config.train.shard_optimizer) {
    out.push_back(
        "comm.canonical = true with train.shard_optimizer = true: sharded sums depend on the rank "
        "count. Set one of them to false.");
  }
  if (compressed && (config.comm.canonical || config.train.shard_optimizer)) {
    out.push_back("comm.compression = " + config.comm.compression + " with " +
                  (config.comm.canonical ? "comm.canonical" : "train.shard_optimizer") +
                  " = true: only whole all-reduces are compressed. Set comm.compression = none.");
  }
}

// The first average is what evaluations and the summary use.
void check_averages(const EmaConfig& ema, std::vector<std::string>& out) {
  if (!ema.decays.empty() || !ema.half_lives_kimg.empty() || !ema.powers.empty()) return;
  out.push_back(
      "ema.decays, ema.half_lives_kimg and ema.powers are all empty: evaluations take the first "
      "average. Give one, for example ema.decays = [0.999].");
}

void check_canonical(const Config& config, int world_size, std::vector<std::string>& out) {
  if (!config.comm.canonical) return;
  const int64_t shards = config.comm.virtual_shards;
  const std::string key = "comm.virtual_shards = " + std::to_string(shards);
  if (shards < 1 || !std::has_single_bit(static_cast<uint64_t>(shards)) ||
      shards % world_size != 0) {
    out.push_back(key + " with " + std::to_string(world_size) +
                  " ranks: must be a power of two that the rank count divides.");
  } else if (config.train.batch_size % shards != 0) {
    out.push_back("train.batch_size = " + std::to_string(config.train.batch_size) + " with " + key +
                  ": comm.canonical cuts the batch into equal shards. Choose a multiple.");
  }
  if (config.run.threads == 0) {
    out.push_back(
        "comm.canonical = true with run.threads = 0: the thread count, and so the order of sums, "
        "would depend on the rank count. Set run.threads, for example to 1.");
  }
}

}  // namespace

std::vector<std::string> problems(const Config& config, int world_size) {
  Config copy = config;
  std::vector<std::string> out;
  for (const Field& field : fields(copy)) check_field(field, out);
  for (auto& sentence : data::problems(config.data.map)) out.push_back(std::move(sentence));
  check_values(config.data, out);
  check_conditions(config, out);
  check_augment(config, out);
  check_model(config.model, out);
  check_diffusion(config.diffusion, out);
  check_batch(config.train, world_size, out);
  check_duration(config.train, out);
  check_averages(config.ema, out);
  for (auto& sentence : convention_problems(config)) out.push_back(std::move(sentence));
  for (auto& sentence : objective_problems(config)) out.push_back(std::move(sentence));
  check_gradient_sum(config, out);
  check_canonical(config, world_size, out);
  if (config.data.labels && config.model.num_classes == 0) {
    out.push_back(
        "data.labels = true with model.num_classes = 0: set model.num_classes to the number of "
        "classes.");
  }
  if (config.model.num_classes > 0 && !config.data.labels) {
    out.push_back("model.num_classes = " + std::to_string(config.model.num_classes) +
                  " with data.labels = false: set data.labels = true.");
  }
  return out;
}

void validate(const Config& config, int world_size) {
  const auto found = problems(config, world_size);
  if (found.empty()) return;
  std::string text;
  for (const auto& sentence : found) text += (text.empty() ? "" : "\n") + sentence;
  throw ConfigError(text);
}

int64_t total_steps(const TrainConfig& train) {
  if (train.steps > 0) return train.steps;
  return static_cast<int64_t>(
      std::ceil(train.duration_kimg * 1000.0 / static_cast<double>(train.batch_size)));
}

int64_t warmup_steps(const TrainConfig& train) {
  if (train.lr_rampup_kimg < 0) return train.rate.warmup_steps;
  return static_cast<int64_t>(
      std::ceil(train.lr_rampup_kimg * 1000.0 / static_cast<double>(train.batch_size)));
}

}  // namespace scorenet::config
