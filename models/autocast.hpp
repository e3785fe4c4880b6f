// Precision of the networks' arithmetic: weights stay float32, `precision = bf16` or `fp16` lowers
// what the layers compute in.
#pragma once

#include <torch/types.h>

#include <string>

namespace scorenet::models {

/// While alive, convolutions and matrix products on `device` run in `dtype` (LibTorch's autocast);
/// float32 again when the scope ends, whatever it was left by. Group norm reads bfloat16 and
/// accumulates in float32; losses stay float32 as networks return their input's dtype.
/// dtype = float32 makes the scope do nothing. Open it around the forward pass only: the backward
/// pass repeats each layer's dtype by itself.
class AutocastScope {
 public:
  explicit AutocastScope(torch::Dtype dtype, torch::DeviceType device = torch::kCPU);
  ~AutocastScope();
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;

 private:
  torch::DeviceType device_;
  bool was_enabled_;
  torch::Dtype old_dtype_;
};

/// What matrix products on `device` compute in right now: the dtype of the innermost
/// scope, or float32.
torch::Dtype active_compute_dtype(torch::DeviceType device = torch::kCPU);

/// float32 for "fp32", bfloat16 for "bf16", float16 for "fp16"; float32 for "auto",
/// which only training makes more of (train/train_precision.hpp). Throws ConfigError
/// that lists them otherwise.
torch::Dtype compute_dtype(const std::string& precision);

/// "fp32", "bf16" or "fp16": the reverse. REQUIRES one of the three.
std::string precision_name(torch::Dtype dtype);

}  // namespace scorenet::models
