// Digests of tensors' values (core/digest.hpp).
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

namespace scorenet {

/// Of the values' bytes, whatever device and strides the tensor has; type and shape are not in it.
std::string digest_of(const torch::Tensor& tensor);

/// Of several tensors, in order. Of one, that tensor's own.
std::string digest_of(const std::vector<torch::Tensor>& tensors);

}  // namespace scorenet
