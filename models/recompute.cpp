#include "models/recompute.hpp"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "models/autocast.hpp"

namespace scorenet::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Call : torch::CustomClassHolder {
  Call(const Segment& s, size_t n, torch::DeviceType d)
      : segment(s), inputs(n), device(d), dtype(active_compute_dtype(d)) {}

  torch::Tensor operator()(const variable_list& x) const {
    const AutocastScope as_before(dtype, device);  // the backward pass runs outside the first one
    return segment(x);
  }

  Segment segment;
  size_t inputs;
  torch::DeviceType device;
  torch::Dtype dtype;
};

// The tensors are the inputs, then the parameters.
class Recomputed : public torch::autograd::Function<Recomputed> {
 public:
  static torch::Tensor forward(AutogradContext* context, at::TensorList tensors,
                               const c10::intrusive_ptr<Call>& call) {
    context->save_for_backward(tensors.vec());
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    return (*call)(variable_list(tensors.begin(), tensors.begin() + std::ptrdiff_t(call->inputs)));
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad) {
    const auto call =
        c10::static_intrusive_pointer_cast<Call>(context->saved_data["call"].toCapsule());
    const bool differentiable = torch::GradMode::is_enabled();  // create_graph
    variable_list tensors = context->get_saved_variables();
    const torch::AutoGradMode record(true);
    // This pass must end where the segment began, though one input may have been computed from
    // another: at leaves, or for higher derivatives at views of the inputs.
    for (size_t i = 0; i < call->inputs; ++i) {
      const torch::Tensor& x = tensors[i];
      tensors[i] = differentiable ? x.view_as(x) : x.detach().requires_grad_(x.requires_grad());
    }
    const torch::Tensor y =
        (*call)(variable_list(tensors.begin(), tensors.begin() + std::ptrdiff_t(call->inputs)));
    return gradients(y, tensors, grad, differentiable);
  }

 private:
  // Undefined where none is wanted; the last one is the call's.
  static variable_list gradients(const torch::Tensor& y, const variable_list& tensors,
                                 const variable_list& grad, bool differentiable) {
    variable_list wanted;
    for (const torch::Tensor& t : tensors)
      if (t.requires_grad()) wanted.push_back(t);
    const variable_list found =
        torch::autograd::grad({y}, wanted, grad, /*retain_graph=*/differentiable,
                              /*create_graph=*/differentiable, /*allow_unused=*/true);
    variable_list all;
    size_t next = 0;
    for (const torch::Tensor& t : tensors)
      all.push_back(t.requires_grad() ? found[next++] : torch::Tensor());
    all.emplace_back();
    return all;
  }
};

}  // namespace

torch::Tensor recomputed(const Segment& segment, const std::vector<torch::Tensor>& inputs,
                         const std::vector<torch::Tensor>& parameters) {
  if (!torch::GradMode::is_enabled()) return segment(inputs);
  variable_list tensors = inputs;
  tensors.insert(tensors.end(), parameters.begin(), parameters.end());
  // As a TensorList: a vector's tensors would not be known to autograd.
  return Recomputed::apply(
      at::TensorList(tensors),
      c10::make_intrusive<Call>(segment, inputs.size(), inputs[0].device().type()));
}

}  // namespace scorenet::models
