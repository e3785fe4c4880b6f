#include "framework/diffusion/likelihood/wkb.hpp"

#include <torch/utils.h>

#include "framework/core/check.hpp"
#include "framework/diffusion/likelihood/flow_jet.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "framework/diffusion/ode_solver.hpp"

namespace scorenet::diffusion {
namespace {

std::vector<int64_t> example_shape_of(const torch::Tensor& x) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape[0] = -1;
  return shape;
}

// The backward pass's state, packed as (b, 2 D + D^2 + 2): x, p, H, l0, l1.
struct State {
  torch::Tensor x, p, hessian, l0, l1;

  torch::Tensor packed() const {
    return torch::cat({x, p, hessian.flatten(1), l0.unsqueeze(1), l1.unsqueeze(1)}, 1);
  }
  static State unpacked(const torch::Tensor& y, int64_t dims) {
    const auto parts = y.split_with_sizes({dims, dims, dims * dims, 1, 1}, 1);
    return {parts[0], parts[1], parts[2].reshape({-1, dims, dims}), parts[3].squeeze(1),
            parts[4].squeeze(1)};
  }
};

State velocity(const Denoiser& denoiser, const Schedule& schedule,
               const std::vector<int64_t>& shape, const torch::Tensor& log_snr, const State& now) {
  const FlowLevel at = flow_level(schedule, log_snr);
  const EpsJet jet = eps_jet(denoiser, now.x, shape, at.level, now.p);
  const auto a = at.linear.unsqueeze(1), c = at.half_sigma.unsqueeze(1);  // F = a x - c eps
  const auto dims = static_cast<double>(now.x.size(1));
  const auto jt_p = torch::einsum("bij,bi->bj", {jet.jacobian, now.p});
  const auto jt_h = torch::matmul(jet.jacobian.transpose(1, 2), now.hessian);
  // div b + b.p = -c (div eps + eps.p) - sigma^2 / 2 (lap l0 + |p|^2), sigma^2 / 2 = 2 c^2.
  const auto trace_h = now.hessian.diagonal(0, 1, 2).sum(1);
  const auto stein_eps = jet.divergence + (jet.eps * now.p).sum(1);
  const auto stein_p = trace_h + now.p.square().sum(1);
  return {flow_velocity(at, now.x, jet.eps), -a * now.p + c * (jt_p + jet.grad_divergence),
          -2 * a.unsqueeze(2) * now.hessian +
              c.unsqueeze(2) * (jt_h + jt_h.transpose(1, 2) + jet.curvature),
          -dims * at.linear + at.half_sigma * jet.divergence,
          at.half_sigma * stein_eps + 2 * at.half_sigma.square() * stein_p};
}

OdeRhs backward_rhs(const Denoiser& denoiser, const Schedule& schedule,
                    const std::vector<int64_t>& shape, int64_t dims) {
  return [=, &denoiser, &schedule](const torch::Tensor&, const torch::Tensor& log_snr,
                                   const torch::Tensor& y) {
    return velocity(denoiser, schedule, shape, log_snr, State::unpacked(y, dims)).packed();
  };
}

OdeSolution to_prior(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x,
                     const WkbOptions& options) {
  const auto shape = example_shape_of(x);
  const OdeRhs flow = [&](const torch::Tensor&, const torch::Tensor& log_snr,
                          const torch::Tensor& y) {
    const FlowLevel at = flow_level(schedule, log_snr);
    const auto eps = denoiser(y.reshape(shape), at.level).eps.to(torch::kFloat64).flatten(1);
    return flow_velocity(at, y, eps);
  };
  const LogSnrRange range = log_snr_range(schedule);
  return integrate(flow, range.clean, range.noisy, x.to(torch::kFloat64).flatten(1), options.steps,
                   {options.rtol, options.atol});
}

State at_prior(const Schedule& schedule, const torch::Tensor& x) {
  const double variance = schedule.prior_variance();
  const auto identity = torch::eye(x.size(1), x.options()).expand({x.size(0), -1, -1});
  const auto log_density = log_prior(schedule, x);
  return {x, -x / variance, -identity / variance, log_density, torch::zeros_like(log_density)};
}

}  // namespace

LikelihoodResult wkb_exact(const Denoiser& denoiser, const Schedule& schedule,
                           const torch::Tensor& x, const WkbOptions& options) {
  const torch::NoGradGuard no_grad;
  const int64_t dims = dims_per_example(x);
  const OdeSolution noisy = to_prior(denoiser, schedule, x, options);
  // A failed first pass starts the second as NaN and fails it, too.
  const LogSnrRange range = log_snr_range(schedule);
  const OdeSolution clean = integrate(
      backward_rhs(denoiser, schedule, example_shape_of(x), dims), range.noisy, range.clean,
      at_prior(schedule, noisy.y).packed(), options.steps, {options.rtol, options.atol});
  const State end = State::unpacked(clean.y.to(torch::kCPU), dims);
  LikelihoodResult result;
  result.kind = ResultKind::exact;
  result.nats = -end.l0;
  result.terms = {{"nll0", -end.l0}, {"nll1", -end.l1}};
  result.nfe = (noisy.evaluations + clean.evaluations).to(torch::kCPU, torch::kFloat64);
  return result;
}

WkbProfile wkb_profile(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x,
                       int64_t steps) {
  const torch::NoGradGuard no_grad;
  const int64_t dims = dims_per_example(x), batch = x.size(0);
  const OdeRhs rhs = backward_rhs(denoiser, schedule, example_shape_of(x), dims);
  const auto rows = torch::arange(batch, x.options().dtype(torch::kLong));
  const BatchRhs at_time = [&](double log_snr, const torch::Tensor& y) {
    return rhs(rows, torch::full({batch}, log_snr, y.options()), y);
  };
  const LogSnrRange range = log_snr_range(schedule);
  const auto log_snr = torch::linspace(range.noisy, range.clean, steps + 1, torch::kFloat64);
  const double step = (range.clean - range.noisy) / static_cast<double>(steps);
  auto y = at_prior(schedule, to_prior(denoiser, schedule, x, {.steps = steps}).y).packed();
  std::vector<torch::Tensor> integrand;
  for (int64_t i = 0; i <= steps; ++i) {
    const double now = range.noisy + static_cast<double>(i) * step;
    integrand.push_back(-State::unpacked(at_time(now, y), dims).l1.to(torch::kCPU));
    if (i < steps) y = runge_kutta4_step(at_time, now, step, y);
  }
  return {schedule.time_of(log_snr).clamp(schedule.t_min(), schedule.t_max()), log_snr,
          torch::stack(integrand, 1)};
}

}  // namespace scorenet::diffusion
