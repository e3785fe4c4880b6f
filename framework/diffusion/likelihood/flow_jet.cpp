#include "framework/diffusion/likelihood/flow_jet.hpp"

#include <ATen/Context.h>
#include <torch/autograd.h>

#include <mutex>

namespace scorenet::diffusion {
namespace {

// Row i is the gradient of y_i: (b, D) -> (b, D, D).
torch::Tensor gradients_of_columns(const torch::Tensor& y, const torch::Tensor& x,
                                   bool create_graph) {
  std::vector<torch::Tensor> rows;
  for (int64_t i = 0; i < y.size(1); ++i) {
    rows.push_back(gradient_or_zero(y.select(1, i), x, create_graph));
  }
  return torch::stack(rows, 1);
}

// LibTorch's switch is the process's, so the count of those who need it off is too: evaluators run
// on several threads, and the first to leave must not turn the fused kernels on under the others.
struct FusedAttentionSwitch {
  std::mutex mutex;
  int scopes = 0;
  bool flash = true;  // what the first scope found
  bool memory_efficient = true;
};

FusedAttentionSwitch& fused_attention_switch() {
  static FusedAttentionSwitch instance;
  return instance;
}

}  // namespace

PlainAttention::PlainAttention() {
  FusedAttentionSwitch& fused = fused_attention_switch();
  const std::lock_guard lock(fused.mutex);
  if (fused.scopes++ > 0) return;
  fused.flash = at::globalContext().userEnabledFlashSDP();
  fused.memory_efficient = at::globalContext().userEnabledMemEfficientSDP();
  at::globalContext().setSDPUseFlash(false);
  at::globalContext().setSDPUseMemEfficient(false);
}

PlainAttention::~PlainAttention() {
  FusedAttentionSwitch& fused = fused_attention_switch();
  const std::lock_guard lock(fused.mutex);
  if (--fused.scopes > 0) return;
  at::globalContext().setSDPUseFlash(fused.flash);
  at::globalContext().setSDPUseMemEfficient(fused.memory_efficient);
}

bool PlainAttention::is_asked_for() {
  FusedAttentionSwitch& fused = fused_attention_switch();
  const std::lock_guard lock(fused.mutex);
  return fused.scopes > 0;
}

torch::Tensor gradient_or_zero(const torch::Tensor& y, const torch::Tensor& x, bool create_graph) {
  if (!y.requires_grad()) return torch::zeros_like(x);
  const auto gradient =
      torch::autograd::grad({y.sum()}, {x}, {}, /*retain_graph=*/true, create_graph,
                            /*allow_unused=*/true)[0];
  return gradient.defined() ? gradient : torch::zeros_like(x);
}

EpsJet eps_jet(const Denoiser& denoiser, const torch::Tensor& x,
               const std::vector<int64_t>& example_shape, const NoiseLevel& level,
               const torch::Tensor& p) {
  const torch::AutoGradMode record(true);
  const auto input = x.detach().requires_grad_(true);
  const auto eps = denoiser(input.reshape(example_shape), level).eps.to(torch::kFloat64).flatten(1);
  const auto jacobian = gradients_of_columns(eps, input, true);
  const auto divergence = jacobian.diagonal(0, 1, 2).sum(1);
  const auto grad_divergence = gradient_or_zero(divergence, input, p.defined());
  EpsJet jet{eps.detach(), jacobian.detach(), divergence.detach(), grad_divergence.detach(), {}};
  if (p.defined()) {
    const auto gradient = torch::einsum("bi,bij->bj", {p, jacobian}) + grad_divergence;
    jet.curvature = gradients_of_columns(gradient, input, false);
  }
  return jet;
}

}  // namespace scorenet::diffusion
