// Digests of tensors' values (core/digest.hpp).
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

namespace scorenet {

/// The digest of the values' bytes, independent of device and strides. Type and shape do not count.
std::string digest_of(const torch::Tensor& tensor);

/// The digest of several tensors, in order. For one tensor it is that tensor's own.
std::string digest_of(const std::vector<torch::Tensor>& tensors);

}  // namespace scorenet
