// A check for NaN and infinities that says where they are.
#pragma once

#include <torch/types.h>

#include <string>

namespace scorenet {

/// Throws NotFiniteError naming `where` and the first such value if `values` holds NaN or an
/// infinity. Tensors of integers always pass.
void check_finite(const torch::Tensor& values, const std::string& where);

}  // namespace scorenet
