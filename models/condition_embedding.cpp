#include "models/condition_embedding.hpp"

#include "framework/core/check.hpp"

namespace scorenet::models {
namespace {

void check_none(const torch::Tensor& given, int64_t size, const char* what) {
  if (!given.defined() || size > 0) return;
  throw ConfigError(
      std::string(what) +
      " given as conditions, but the network has no conditions. Name them in [condition.NAME] of "
      "its config.");
}

// What stands for `given`: itself, or zeros of this shape.
torch::Tensor or_zeros(const torch::Tensor& given, const std::vector<int64_t>& shape,
                       const torch::Tensor& x, const char* what) {
  if (!given.defined()) return torch::zeros(shape, x.options().requires_grad(false));
  if (given.sizes() == c10::IntArrayRef(shape)) return given.to(x.device(), x.scalar_type());
  throw ShapeError(std::string("conditions: ") + what + " of shape " + shape_string(given.sizes()) +
                   ", expected " + shape_string(shape) + ".");
}

}  // namespace

Conditions completed(const Conditions& given, const ConditionSizes& sizes, const torch::Tensor& x) {
  check_none(given.numbers, sizes.numbers, "numbers");
  check_none(given.fields, sizes.channels, "fields");
  if (!sizes.any()) return {given.labels};
  const auto options = x.options().requires_grad(false);
  const bool any = given.numbers.defined() || given.fields.defined();
  Conditions all(given.labels);
  all.told = given.told.defined() ? given.told.to(options)
                                  : torch::full({x.size(0)}, any ? 1 : 0, options);
  if (sizes.numbers > 0)
    all.numbers =
        or_zeros(given.numbers, {x.size(0), sizes.numbers}, x, "numbers") * all.told.unsqueeze(1);
  if (sizes.channels == 0) return all;
  std::vector<int64_t> shape = x.sizes().vec(), one(shape.size(), 1);
  shape[1] = sizes.channels;
  one[0] = x.size(0);
  all.fields = or_zeros(given.fields, shape, x, "fields") * all.told.view(one);
  return all;
}

torch::Tensor told_numbers(const Conditions& complete) {
  const torch::Tensor told = complete.told.unsqueeze(1);
  return complete.numbers.defined() ? torch::cat({complete.numbers, told}, 1) : told;
}

ConditionEmbeddingImpl::ConditionEmbeddingImpl(const ConditionSizes& sizes, int64_t width)
    : layers_(register_module("layers", TimeEmbedding(sizes.numbers + 1, width))) {}

torch::nn::Linear augment_layer(const ConditionSizes& sizes, int64_t width) {
  return torch::nn::Linear(torch::nn::LinearOptions(sizes.augment, width).bias(false));
}

torch::Tensor with_augment(const torch::Tensor& embedding, torch::nn::Linear& layer,
                           const Conditions& given) {
  if (!given.augment.defined()) return embedding;
  if (given.augment.size(0) != embedding.size(0) || given.augment.dim() != 2 ||
      given.augment.size(1) != layer->options.in_features()) {
    throw ShapeError("conditions: augment of shape " + shape_string(given.augment.sizes()) +
                     ", expected (" + std::to_string(embedding.size(0)) + ", " +
                     std::to_string(layer->options.in_features()) + ").");
  }
  const auto& weight = layer->weight;
  return embedding + layer(given.augment.to(weight.device(), weight.scalar_type()));
}

torch::Tensor ConditionEmbeddingImpl::forward(const Conditions& complete) {
  return layers_(told_numbers(complete));
}

}  // namespace scorenet::models
