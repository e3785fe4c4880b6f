// The published first-order system, derivatives of l0 by finite differences of inner
// solves. See wkb.hpp.
#include <torch/utils.h>

#include <cmath>
#include <string>

#include "framework/core/check.hpp"
#include "framework/diffusion/likelihood/flow_jet.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "framework/diffusion/likelihood/wkb.hpp"
#include "framework/diffusion/ode_solver.hpp"

namespace scorenet::diffusion {
namespace {

struct Problem {
  const Denoiser& denoiser;
  const Schedule& schedule;
  std::vector<int64_t> shape;
  LogSnrRange range;
  int64_t dims;
  int64_t steps;
  double spacing;
};

// l0 at (x, log_snr): the change of variables from there to the noisy end.
torch::Tensor log_density(const Problem& problem, const torch::Tensor& x, double log_snr) {
  const double full = problem.range.clean - problem.range.noisy;
  const double share = (log_snr - problem.range.noisy) / full * static_cast<double>(problem.steps);
  if (share < 1e-9) return log_prior(problem.schedule, x);
  const OdeRhs rhs = [&](const torch::Tensor&, const torch::Tensor& time, const torch::Tensor& y) {
    const FlowLevel at = flow_level(problem.schedule, time);
    const auto z = y.slice(1, 0, problem.dims);
    const auto eps = eps_divergence_exact(problem.denoiser, z.reshape(problem.shape), at.level);
    const auto volume =
        static_cast<double>(problem.dims) * at.linear - at.half_sigma * eps.divergence;
    return torch::cat({flow_velocity(at, z, eps.eps.flatten(1)), volume.unsqueeze(1)}, 1);
  };
  const auto start = torch::cat({x, torch::zeros({x.size(0), 1}, x.options())}, 1);
  const auto end = runge_kutta4(rhs, log_snr, problem.range.noisy, start,
                                static_cast<int64_t>(std::ceil(share - 1e-9)))
                       .y;
  return log_prior(problem.schedule, end.slice(1, 0, problem.dims)) + end.select(1, problem.dims);
}

struct LogDensityJet {
  torch::Tensor gradient;   // (b, D)
  torch::Tensor laplacian;  // (b)
};

// Central differences on the stencil x, x +- spacing e_i, all points solved as one batch.
LogDensityJet log_density_jet(const Problem& problem, const torch::Tensor& x, double log_snr) {
  const int64_t batch = x.size(0), dims = problem.dims;
  const auto axes = problem.spacing * torch::eye(dims, x.options());
  const auto offsets = torch::cat({torch::zeros({1, dims}, x.options()), axes, -axes});
  const auto points = (x.unsqueeze(1) + offsets).reshape({-1, dims});
  const auto values = log_density(problem, points, log_snr).view({batch, 2 * dims + 1});
  const auto up = values.slice(1, 1, dims + 1), down = values.slice(1, dims + 1);
  return {(up - down) / (2 * problem.spacing),
          (up + down - 2 * values.slice(1, 0, 1)).sum(1) / (problem.spacing * problem.spacing)};
}

}  // namespace

LikelihoodResult wkb_published(const Denoiser& denoiser, const Schedule& schedule,
                               const torch::Tensor& x, int64_t steps, double spacing,
                               const HbarShape& hbar_shape) {
  const torch::NoGradGuard no_grad;
  const PlainAttention twice_differentiable;
  if (steps < 1 || !(spacing > 0)) {
    throw ConfigError("wkb, published system: steps = " + std::to_string(steps) + ", spacing = " +
                      std::to_string(spacing) + "; steps must be at least 1, spacing > 0.");
  }
  std::vector<int64_t> shape = x.sizes().vec();
  shape[0] = -1;
  const int64_t dims = dims_per_example(x), batch = x.size(0);
  const Problem problem{denoiser, schedule, shape, log_snr_range(schedule), dims, steps, spacing};

  // State (x, dx, c); d/dL of each, b = (sigma^2 / 2) (s - grad l0) = -c_s eps - 2 c_s^2 grad l0,
  // c_s = sigma / 2.
  const BatchRhs rhs = [&](double log_snr, const torch::Tensor& y) {
    const auto parts = y.split_with_sizes({dims, dims, 1}, 1);
    const FlowLevel at = flow_level(schedule, torch::full({batch}, log_snr, y.options()));
    const auto a = at.linear.unsqueeze(1), c = at.half_sigma.unsqueeze(1);
    const EpsJet jet = eps_jet(denoiser, parts[0], shape, at.level, {});
    const LogDensityJet l0 = log_density_jet(problem, parts[0], log_snr);
    const auto jacobian_dx = torch::einsum("bij,bj->bi", {jet.jacobian, parts[1]});
    const double share = hbar_at(hbar_shape, 1, at.t[0].item<double>());
    const auto b = share * (-c * jet.eps - 2 * c.square() * l0.gradient);
    const auto div_b =
        share * (-at.half_sigma * jet.divergence - 2 * at.half_sigma.square() * l0.laplacian);
    const auto d_c = -at.half_sigma * (parts[1] * jet.grad_divergence).sum(1) + div_b;
    return torch::cat({flow_velocity(at, parts[0], jet.eps), a * parts[1] - c * jacobian_dx + b,
                       d_c.unsqueeze(1)},
                      1);
  };
  const auto flat = x.to(torch::kFloat64).flatten(1);
  auto y = torch::cat({flat, torch::zeros_like(flat), torch::zeros({batch, 1}, flat.options())}, 1);
  const double step = (problem.range.noisy - problem.range.clean) / static_cast<double>(steps);
  for (int64_t i = 0; i < steps; ++i) {
    y = runge_kutta4_step(rhs, problem.range.clean + static_cast<double>(i) * step, step, y);
  }
  const auto end = y.split_with_sizes({dims, dims, 1}, 1);
  const auto grad_log_prior = -end[0] / schedule.prior_variance();
  LikelihoodResult result;
  result.kind = ResultKind::estimate;
  result.nats = -log_density(problem, flat, problem.range.clean).to(torch::kCPU);
  const auto nll1 = -(end[2].squeeze(1) + (end[1] * grad_log_prior).sum(1)).to(torch::kCPU);
  result.terms = {{"nll0", result.nats}, {"nll1", nll1}};
  // Four stages a step, each with an inner solve of half the steps on average on 2 D + 1 points.
  const double inner = 2.0 * static_cast<double>(steps) * static_cast<double>(2 * dims + 1);
  result.nfe = torch::full_like(result.nats, 4.0 * static_cast<double>(steps) * (1 + inner));
  return result;
}

}  // namespace scorenet::diffusion
