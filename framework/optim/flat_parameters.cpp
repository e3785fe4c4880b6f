#include "framework/optim/flat_parameters.hpp"

#include <torch/nn/module.h>

#include "framework/core/error.hpp"

namespace scorenet::optim {

NamedTensors named_parameters(const torch::nn::Module& module) {
  NamedTensors all;
  for (const auto& item : module.named_parameters()) all.emplace_back(item.key(), item.value());
  return all;
}

std::vector<int64_t> parameter_sizes(const NamedTensors& parameters) {
  std::vector<int64_t> sizes;
  for (const auto& [name, parameter] : parameters) sizes.push_back(parameter.numel());
  return sizes;
}

FlatParameters::FlatParameters(const torch::nn::Module& module)
    : FlatParameters(named_parameters(module)) {}

FlatParameters::FlatParameters(const NamedTensors& named)
    : FlatParameters(named, reduce::make_flat_layout(parameter_sizes(named))) {}

namespace {

torch::Tensor zeros(int64_t count, const torch::TensorOptions& options,
                    const FlatParameters::Allocate& allocate) {
  const auto bytes = count * static_cast<int64_t>(options.dtype().itemsize());
  const std::shared_ptr<void> memory = allocate ? allocate(bytes) : nullptr;
  if (!memory) return torch::zeros({count}, options);
  return torch::from_blob(memory.get(), {count}, [memory](void*) {}, options).zero_();
}

}  // namespace

FlatParameters::FlatParameters(const NamedTensors& named, const reduce::FlatLayout& layout,
                               const Allocate& allocate)
    : layout_(layout) {
  for (const auto& [name, parameter] : named) {
    names_.push_back(name);
    parameters_.push_back(parameter);
  }
  if (parameters_.empty()) throw ConfigError("a network without parameters cannot be trained.");
  const auto options = parameters_[0].options().requires_grad(false);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].dtype() != options.dtype() || parameters_[i].device() != options.device()) {
      throw ConfigError("parameter " + names_[i] + " of the network is " +
                        parameters_[i].toString() + ", the first is " + parameters_[0].toString() +
                        ": all must have one dtype and device.");
    }
  }
  if (layout_.sizes != parameter_sizes(named)) {
    throw ShapeError("flat parameters: a layout of " + std::to_string(layout_.sizes.size()) +
                     " parameters does not fit the " + std::to_string(parameters_.size()) +
                     " of the network.");
  }
  values_ = zeros(layout_.total, options, allocate);
  gradients_ = zeros(layout_.total, options, allocate);
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    torch::Tensor view = view_of(values_, i);
    view.copy_(parameters_[i]);
    parameters_[i].set_data(view);
    if (parameters_[i].requires_grad()) parameters_[i].mutable_grad() = view_of(gradients_, i);
  }
}

torch::Tensor FlatParameters::view_of(const torch::Tensor& flat, size_t i) const {
  return flat.narrow(0, layout_.offsets[i], layout_.sizes[i]).view(parameters_[i].sizes());
}

void FlatParameters::check_views() const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].requires_grad()) continue;
    const torch::Tensor& gradient = parameters_[i].grad();
    if (gradient.defined() && gradient.is_alias_of(gradients_)) continue;
    throw ShapeError("parameter " + names_[i] + ": its gradient " +
                     (gradient.defined() ? "was replaced" : "was undefined") +
                     ", expected a view of the flat buffer. Zero gradients with zero_gradients().");
  }
}

}  // namespace scorenet::optim
