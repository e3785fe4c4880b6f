#include "models/kernels/followed.hpp"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

namespace scorenet::models::kernels {

bool is_followed(at::TensorList inputs) {
  if (!torch::GradMode::is_enabled()) return false;
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const torch::Tensor& t) { return t.defined() && t.requires_grad(); });
}

std::vector<torch::Tensor> differentiable_gradients(const torch::Tensor& y,
                                                    const std::vector<torch::Tensor>& inputs,
                                                    const torch::Tensor& d_y) {
  std::vector<torch::Tensor> wanted;
  for (const torch::Tensor& t : inputs) {
    if (t.defined() && t.requires_grad()) wanted.push_back(t);
  }
  const auto found = torch::autograd::grad({y}, wanted, {d_y}, /*retain_graph=*/true,
                                           /*create_graph=*/true);
  std::vector<torch::Tensor> all;
  auto next = found.begin();
  for (const torch::Tensor& t : inputs)
    all.push_back(t.defined() && t.requires_grad() ? *next++ : torch::Tensor());
  return all;
}

}  // namespace scorenet::models::kernels
