// Precision of the networks' arithmetic: weights stay float32; with `precision = bf16` or `fp16`
// the layers compute in that type.
#pragma once

#include <torch/types.h>

#include <string>

namespace scorenet::models {

/// While this object exists, convolutions and matrix products on `device` run in `dtype`
/// (LibTorch's autocast); afterwards, also after an exception, in float32 again. Group norm reads
/// bfloat16 and accumulates in float32. Losses stay float32, since networks return their input's
/// dtype. With dtype = float32 the scope does nothing. Open it around the forward pass only: the
/// backward pass uses each layer's dtype by itself.
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

/// The type in which matrix products on `device` compute now: that of the innermost scope, or
/// float32.
torch::Dtype active_compute_dtype(torch::DeviceType device = torch::kCPU);

/// The type that a name of precision_names() computes in: "fp32" and "tf32" in float32, "bf16" in
/// bfloat16, "fp16" in float16. "auto" is float32 here; only training may choose bfloat16 for it
/// (train/train_precision.hpp). Throws ConfigError that lists the names.
torch::Dtype compute_dtype(const std::string& precision);

/// What a GPU of compute capability 8.0 may round to TF32 (10 bits behind the point) in float32
/// products: "fp32" nothing, "tf32" all, any other name convolutions alone, as LibTorch does by
/// itself. For the whole process, until the next call.
void round_products_as(const std::string& precision);

/// "fp32", "bf16" or "fp16": the reverse. REQUIRES one of the three.
std::string precision_name(torch::Dtype dtype);

}  // namespace scorenet::models
