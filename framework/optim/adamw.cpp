#include "framework/optim/adamw.hpp"

#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_fused_adamw.h>

#include <algorithm>

#include "framework/core/error.hpp"

namespace scorenet::optim {
namespace {

void check(const char* key, double value, bool good, const char* must) {
  if (good) return;
  throw ConfigError(std::string("train.") + key + " = " + std::to_string(value) + ": must be " +
                    must + ".");
}

}  // namespace

bool decays(const torch::Tensor& parameter) { return parameter.dim() >= 2; }

AdamWTarget whole_target(const FlatParameters& parameters) {
  AdamWTarget target{parameters.values(), parameters.gradients(), {}};
  for (size_t i = 0; i < parameters.parameters().size(); ++i) {
    if (decays(parameters.parameters()[i])) {
      target.decayed.push_back(parameters.view_of(parameters.values(), i));
    }
  }
  return target;
}

AdamW::AdamW(AdamWTarget target, const AdamWOptions& options)
    : target_(std::move(target)),
      options_(options),
      first_moment_(torch::zeros_like(target_.weights)),
      second_moment_(torch::zeros_like(target_.weights)),
      step_(torch::zeros({}, torch::dtype(torch::kFloat32).device(target_.weights.device()))) {
  check("beta1", options_.beta1, options_.beta1 >= 0 && options_.beta1 < 1, "in [0, 1)");
  check("beta2", options_.beta2, options_.beta2 >= 0 && options_.beta2 < 1, "in [0, 1)");
  check("adam_eps", options_.eps, options_.eps > 0, "positive");
  check("weight_decay", options_.weight_decay, options_.weight_decay >= 0, "at least 0");
  check("clip_norm", options_.clip_norm, options_.clip_norm >= 0, "at least 0 (0: no clipping)");
}

double AdamW::gradient_norm(double gradient_scale) const {
  return gradient_scale * target_.gradients.norm().item<double>();
}

void AdamW::step(double learning_rate, double norm, double gradient_scale) {
  const torch::NoGradGuard no_grad;
  double factor = gradient_scale;
  if (options_.clip_norm > 0) factor *= std::min(1.0, options_.clip_norm / (norm + 1e-6));
  // The kernel divides by grad_scale on the fly, which saves a pass over the gradients.
  std::optional<torch::Tensor> divisor;
  if (factor != 1.0) divisor = torch::full_like(step_, 1.0 / factor);
  if (options_.weight_decay > 0 && !target_.decayed.empty()) {
    at::_foreach_mul_(target_.decayed, 1.0 - learning_rate * options_.weight_decay);
  }
  step_ += 1;
  at::_fused_adamw_({target_.weights}, {target_.gradients}, {first_moment_}, {second_moment_}, {},
                    {step_}, learning_rate, options_.beta1, options_.beta2,
                    /*weight_decay=*/0.0, options_.eps, /*amsgrad=*/false, /*maximize=*/false,
                    divisor);
}

torch::Tensor AdamW::gradient_norm_on_device() const {
  return target_.gradients.norm().to(torch::kFloat64);
}

void AdamW::step(const DeviceStep& d) {
  const torch::NoGradGuard no_grad;
  torch::Tensor factor = d.gradient_scale;
  if (options_.clip_norm > 0) {
    const auto clip = (options_.clip_norm / (d.norm + 1e-6)).clamp_max(1.0);
    factor = factor.defined() ? factor * clip : clip;
  }
  std::optional<torch::Tensor> divisor;
  if (factor.defined()) divisor = factor.reciprocal().to(torch::kFloat32);
  if (options_.weight_decay > 0 && !target_.decayed.empty()) {
    at::_foreach_mul_(target_.decayed, 1.0 - d.learning_rate * d.apply * options_.weight_decay);
  }
  step_ += d.apply;
  at::_fused_adamw_({target_.weights}, {target_.gradients}, {first_moment_}, {second_moment_}, {},
                    {step_}, d.learning_rate, options_.beta1, options_.beta2,
                    /*weight_decay=*/0.0, options_.eps, /*amsgrad=*/false, /*maximize=*/false,
                    divisor, /*found_inf=*/1.0 - d.apply);
}

std::vector<std::pair<std::string, torch::Tensor>> AdamW::state() const {
  return {{"adamw.first_moment", first_moment_},
          {"adamw.second_moment", second_moment_},
          {"adamw.step", step_}};
}

int64_t AdamW::steps_taken() const { return step_.item().toLong(); }

}  // namespace scorenet::optim
