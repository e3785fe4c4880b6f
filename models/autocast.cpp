#include "models/autocast.hpp"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>

#include "framework/core/error.hpp"
#include "models/options.hpp"

namespace scorenet::models {
namespace {

struct Precision {
  const char* name;
  torch::Dtype dtype;
};

// auto: what training decides for itself; everything else computes in float32.
constexpr Precision kPrecisions[] = {{"auto", torch::kFloat32},
                                     {"fp32", torch::kFloat32},
                                     {"tf32", torch::kFloat32},
                                     {"bf16", torch::kBFloat16},
                                     {"fp16", torch::kFloat16}};

}  // namespace

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
  std::string known;
  for (const Precision& known_one : kPrecisions) {
    if (precision == known_one.name) return known_one.dtype;
    known += (known.empty() ? "" : ", ") + std::string(known_one.name);
  }
  throw ConfigError("train.precision = \"" + precision + "\": unknown. Use one of " + known + ".");
}

void round_products_as(const std::string& precision) {
  at::globalContext().setAllowTF32CuDNN(precision != "fp32");
  at::globalContext().setAllowTF32CuBLAS(precision == "tf32");
}

std::vector<std::string> precision_names() {
  std::vector<std::string> names;
  for (const Precision& precision : kPrecisions) names.emplace_back(precision.name);
  return names;
}

std::string precision_name(torch::Dtype dtype) {
  return dtype == torch::kBFloat16 ? "bf16" : dtype == torch::kFloat16 ? "fp16" : "fp32";
}

}  // namespace scorenet::models
