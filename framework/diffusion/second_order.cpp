#include "framework/diffusion/second_order.hpp"

#include <torch/autograd.h>

#include "framework/core/check.hpp"
#include "framework/diffusion/likelihood/flow_jet.hpp"
#include "framework/diffusion/preconditioning.hpp"

namespace scorenet::diffusion {

torch::Tensor second_order_error(const Network& network, const Schedule& schedule,
                                 const torch::Tensor& x0, const torch::Tensor& t,
                                 const torch::Tensor& eps, const torch::Tensor& probe,
                                 double weight) {
  check_same_shape(x0, probe, "second-order flow matching: x0 and probe");
  const PlainAttention plain;  // the fused kernels have no second derivative
  const Parametrisation v{Prediction::v};
  const NoiseLevel level = schedule.at(t);
  const auto x_t = add_noise(x0, eps, level).requires_grad_();
  const auto v_hat = predict(network, v, x_t, level);
  const auto target = target_from(v, x0, eps, level);
  check_same_shape(target, v_hat, "network output");
  const auto error = sum_per_example((target - v_hat).square()).to(torch::kFloat64);
  const auto product = torch::autograd::grad({v_hat}, {x_t}, {probe.to(v_hat.options())},
                                             /*retain_graph=*/true, /*create_graph=*/true)[0];
  const auto divergence =
      sum_per_example(product * probe.to(product.options())).to(torch::kFloat64);
  const auto dims = static_cast<double>(dims_per_example(x0));
  const auto gap = level.sigma.to(x0.device()) * divergence -
                   level.alpha.to(x0.device()) * (dims - error.detach());
  return error + weight / dims * gap.square();
}

}  // namespace scorenet::diffusion
