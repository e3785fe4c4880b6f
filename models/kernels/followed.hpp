// What autograd nodes of our own ask autograd.
#pragma once

#include <torch/types.h>

#include <vector>

namespace scorenet::models::kernels {

/// Whether autograd follows what is made of these.
bool is_followed(at::TensorList inputs);

/// Gradients of y in `inputs` that can be differentiated again; undefined where none is wanted.
std::vector<torch::Tensor> differentiable_gradients(const torch::Tensor& y,
                                                    const std::vector<torch::Tensor>& inputs,
                                                    const torch::Tensor& d_y);

}  // namespace scorenet::models::kernels
