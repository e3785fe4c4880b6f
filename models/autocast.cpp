#include "models/autocast.hpp"

#include <ATen/autocast_mode.h>

#include "framework/core/error.hpp"

namespace scorenet::models {

AutocastScope::AutocastScope(torch::Dtype dtype, torch::DeviceType device)
    : device_(device),
      was_enabled_(at::autocast::is_autocast_enabled(device)),
      old_dtype_(at::autocast::get_autocast_dtype(device)) {
  const bool enable = dtype != torch::kFloat32;
  at::autocast::set_autocast_enabled(device_, enable);
  if (enable) at::autocast::set_autocast_dtype(device_, dtype);
  at::autocast::increment_nesting();
}

AutocastScope::~AutocastScope() {
  // The cache holds lowered copies of the weights; the optimiser is about to change those.
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, was_enabled_);
  at::autocast::set_autocast_dtype(device_, old_dtype_);
}

torch::Dtype active_compute_dtype(torch::DeviceType device) {
  return at::autocast::is_autocast_enabled(device) ? at::autocast::get_autocast_dtype(device)
                                                   : torch::kFloat32;
}

torch::Dtype compute_dtype(const std::string& precision) {
  if (precision == "fp32" || precision == "auto") return torch::kFloat32;
  if (precision == "bf16") return torch::kBFloat16;
  if (precision == "fp16") return torch::kFloat16;
  throw ConfigError("train.precision = \"" + precision +
                    "\": unknown. Known are auto, fp32, bf16 and fp16.");
}

std::string precision_name(torch::Dtype dtype) {
  return dtype == torch::kBFloat16 ? "bf16" : dtype == torch::kFloat16 ? "fp16" : "fp32";
}

}  // namespace scorenet::models
