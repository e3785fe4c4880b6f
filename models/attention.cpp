#include "models/attention.hpp"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

namespace scorenet::models {
namespace {

using torch::autograd::variable_list;

// A softmax between two products: every operation has derivatives of all orders.
torch::Tensor attend_by_products(const torch::Tensor& q, const torch::Tensor& k,
                                 const torch::Tensor& v) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  const torch::Tensor weights = torch::matmul(q * scale, k.transpose(2, 3)).softmax(-1);
  return torch::matmul(weights, v);
}

bool fused_kernel_is_slow(const torch::Tensor& q) {
  return q.is_cpu() && q.scalar_type() == torch::kBFloat16 && (q.size(2) <= 256 || q.size(3) < 32);
}

// LibTorch's fused kernels, whose backward passes have no derivative. Where one is asked for, the
// products are taken.
class FusedAttention : public torch::autograd::Function<FusedAttention> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& q,
                               const torch::Tensor& k, const torch::Tensor& v) {
    context->save_for_backward({q, k, v});
    const torch::AutoGradMode record(true);
    const variable_list inputs = leaves({q, k, v});
    const torch::Tensor y = at::scaled_dot_product_attention(inputs[0], inputs[1], inputs[2]);
    context->saved_data["inputs"] = inputs;
    context->saved_data["y"] = y;
    return y.detach();
  }

  static variable_list backward(torch::autograd::AutogradContext* context,
                                const variable_list& grad) {
    if (torch::GradMode::is_enabled()) {  // create_graph
      const variable_list x = context->get_saved_variables();
      const torch::Tensor y = attend_by_products(x[0], x[1], x[2]);
      variable_list gradients;
      for (const torch::Tensor& input : x) gradients.push_back(gradient(y, input, grad));
      return gradients;
    }
    return torch::autograd::grad({context->saved_data["y"].toTensor()},
                                 context->saved_data["inputs"].toTensorVector(), grad,
                                 /*retain_graph=*/true);
  }

 private:
  static torch::Tensor gradient(const torch::Tensor& y, const torch::Tensor& x,
                                const variable_list& grad) {
    if (!x.requires_grad()) return {};
    return torch::autograd::grad({y}, {x}, grad, /*retain_graph=*/true, /*create_graph=*/true)[0];
  }

  static variable_list leaves(const variable_list& tensors) {
    variable_list all;
    for (const torch::Tensor& t : tensors) all.push_back(t.detach().requires_grad_(true));
    return all;
  }
};

}  // namespace

torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v) {
  if (fused_kernel_is_slow(q)) return attend_by_products(q, k, v);
  const bool recorded = q.requires_grad() || k.requires_grad() || v.requires_grad();
  if (torch::GradMode::is_enabled() && recorded) return FusedAttention::apply(q, k, v);
  return at::scaled_dot_product_attention(q, k, v);
}

}  // namespace scorenet::models
