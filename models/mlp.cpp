#include "models/mlp.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "framework/core/check.hpp"
#include "models/blocks.hpp"
#include "models/condition_embedding.hpp"
#include "models/embedding.hpp"

namespace scorenet::models {
namespace {

int64_t feature_count(const MLPOptions& options) {
  return mlp_time_features(torch::zeros({1}), options, torch::kFloat32).size(1);
}

void check_options(const MLPOptions& o) {
  if (o.hidden.empty() || *std::min_element(o.hidden.begin(), o.hidden.end()) < 1) {
    throw ConfigError("model.hidden = " + shape_string(o.hidden) +
                      ": must hold at least one width, all positive.");
  }
  if (!(o.dropout >= 0.0 && o.dropout < 1.0)) {
    throw ConfigError("model.dropout = " + std::to_string(o.dropout) + ": must be in [0, 1).");
  }
  if (o.conditions.channels > 0) {
    throw ConfigError(
        "[condition.NAME] of kind = field with model.type = mlp: points have no grid for a field. "
        "Use kind = vector.");
  }
  if (o.num_classes < 0) {
    throw ConfigError("model.num_classes = " + std::to_string(o.num_classes) + ": must be >= 0.");
  }
}

// Of l = log_snr (B) float64: (B, features).
struct MlpTime {
  const char* name;
  torch::Tensor (*features)(const torch::Tensor& l, int64_t dim);
};
const MlpTime kMlpTimes[] = {
    {"sinusoidal",
     [](const torch::Tensor& l, int64_t dim) {
       return sinusoidal_embedding(time_coordinate(l), {.dim = dim}, torch::kFloat64);
     }},
    {"scalar", [](const torch::Tensor& l, int64_t) { return (l / 4).unsqueeze(1); }},
    {"angle",
     [](const torch::Tensor& l, int64_t) {
       return ((2 / std::numbers::pi) * torch::exp(-l / 2).atan()).unsqueeze(1);
     }},
    // alpha^2 = sigmoid(log_snr)
    {"attenuation",
     [](const torch::Tensor& l, int64_t) { return (at::softplus(-l) / 10).sqrt().unsqueeze(1); }},
};

}  // namespace

torch::Tensor mlp_time_features(const torch::Tensor& log_snr, const MLPOptions& options,
                                torch::Dtype dtype) {
  for (const MlpTime& entry : kMlpTimes)
    if (options.time_embedding == entry.name)
      return entry.features(log_snr.to(torch::kFloat64), options.embedding_dim).to(dtype);
  std::string known;
  for (const std::string& name : time_embedding_names()) known += " " + name;
  throw ConfigError("model.time_embedding = \"" + options.time_embedding +
                    "\": unknown. Known are" + known + ".");
}

std::vector<std::string> time_embedding_names() {
  std::vector<std::string> names;
  for (const MlpTime& entry : kMlpTimes) names.emplace_back(entry.name);
  return names;
}

MLPImpl::MLPImpl(const MLPOptions& options, int64_t dims, int64_t outputs)
    : options_(options), dims_(dims) {
  check_options(options_);
  int64_t width = dims + feature_count(options_);
  if (options_.num_classes > 0) {
    class_embedding_ = register_module(
        "class_embedding", torch::nn::Embedding(options_.num_classes + 1, options_.embedding_dim));
    width += options_.embedding_dim;
  }
  if (options_.conditions.any()) width += options_.conditions.numbers + 1;
  const auto layers = register_module("hidden", torch::nn::ModuleList());
  for (const int64_t next : options_.hidden) {
    hidden_.emplace_back(width, next);
    layers->push_back(hidden_.back());
    width = next;
  }
  const int64_t own = options_.learned_variance ? 2 * dims : dims;
  out_ = register_module("out", torch::nn::Linear(width, outputs > 0 ? outputs : own));
}

torch::Tensor MLPImpl::hidden(const NetworkInput& input) {
  if (input.x.dim() != 2 || input.x.size(1) != dims_) {
    throw ShapeError("mlp: input of shape " + shape_string(input.x.sizes()) + ", expected (B, " +
                     std::to_string(dims_) + ").");
  }
  std::vector<torch::Tensor> parts{
      input.x, mlp_time_features(input.log_snr, options_, input.x.scalar_type())};
  if (class_embedding_) {
    parts.push_back(class_embedding_(labels_or_none(input, options_.num_classes)));
  } else if (input.given.labels.defined()) {
    labels_or_none(input, 0);  // throws
  }
  const Conditions given = completed(input.given, options_.conditions, input.x);
  if (options_.conditions.any()) parts.push_back(told_numbers(given));
  torch::Tensor h = torch::cat(parts, 1);
  for (size_t i = 0; i < hidden_.size(); ++i) {
    torch::Tensor next = torch::silu(hidden_[i](h));
    next = slot_dropout(next, options_.dropout, static_cast<int64_t>(i), input.dropout);
    h = options_.residual && next.sizes() == h.sizes() ? h + next : next;
  }
  return h;
}

torch::Tensor MLPImpl::forward(const NetworkInput& input) {
  return out_(hidden(input)).to(input.x.scalar_type());
}

}  // namespace scorenet::models
