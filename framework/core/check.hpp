// Checks on tensors, and the helper that broadcasts a number per example to a batch.
#pragma once

#include <torch/types.h>

#include <string>

#include "framework/core/error.hpp"

namespace scorenet {

/// "(2, 1, 28, 28)": a shape as error messages print it.
std::string shape_string(c10::IntArrayRef shape);

/// Throws ShapeError naming `what` and both shapes unless a and b have the same shape.
void check_same_shape(const torch::Tensor& a, const torch::Tensor& b, const std::string& what);

/// per_example (B) viewed as (B, 1, ..., 1) with as many dimensions as `batch` (B, ...). A scalar
/// () is returned as it is. Code that uses this works for any number of dimensions. Throws
/// ShapeError if B differs.
torch::Tensor broadcast_to_batch(const torch::Tensor& per_example, const torch::Tensor& batch);

/// Sum over all dimensions but the first: (B, ...) -> (B).
torch::Tensor sum_per_example(const torch::Tensor& batch);

/// Number of dimensions of one example: the product of all sizes but the first.
int64_t dims_per_example(const torch::Tensor& batch);

}  // namespace scorenet
