#include "framework/diffusion/likelihood/probability_flow.hpp"

#include <torch/autograd.h>
#include <torch/utils.h>

#include <cmath>
#include <numbers>

#include "framework/core/check.hpp"
#include "framework/diffusion/likelihood/exactness.hpp"

namespace scorenet::diffusion {

FlowLevel flow_level(const Schedule& schedule, const torch::Tensor& log_snr) {
  const torch::NoGradGuard no_grad;
  const auto t = schedule.time_of(log_snr).clamp(schedule.t_min(), schedule.t_max());
  const NoiseLevel level = schedule.at(t);
  require_levels(log_snr, level.log_snr);
  return {level, schedule.d_log_alpha(t) / schedule.d_log_snr(t), level.sigma / 2, t};
}

torch::Tensor log_prior(const Schedule& schedule, const torch::Tensor& x) {
  const double variance = schedule.prior_variance();
  const auto dims = static_cast<double>(dims_per_example(x));
  const double log_norm = dims / 2 * std::log(2 * std::numbers::pi * variance);
  return -sum_per_example(x.to(torch::kFloat64).square()) / (2 * variance) - log_norm;
}

torch::Tensor flow_velocity(const FlowLevel& at, const torch::Tensor& x, const torch::Tensor& eps) {
  return broadcast_to_batch(at.linear, x) * x - broadcast_to_batch(at.half_sigma, x) * eps;
}

EpsJacobian eps_jacobian_exact(const Denoiser& denoiser, const torch::Tensor& x,
                               const NoiseLevel& level) {
  const int64_t dims = dims_per_example(x), batch = x.size(0);
  const torch::AutoGradMode record(true);
  const auto copies = x.detach().repeat_interleave(dims, 0).requires_grad_(true);
  const auto eps = denoiser(copies, repeat_level(level, dims)).eps;
  const auto unit = torch::eye(dims, eps.options()).repeat({batch, 1}).view_as(eps);
  const auto rows = torch::autograd::grad({eps}, {copies}, {unit})[0].flatten(1);
  const auto jacobian = rows.to(torch::kFloat64).view({batch, dims, dims});
  std::vector<int64_t> first_copies = x.sizes().vec();
  first_copies.insert(first_copies.begin() + 1, dims);
  return {eps.detach().to(torch::kFloat64).view(first_copies).select(1, 0), jacobian};
}

EpsDivergence eps_divergence_exact(const Denoiser& denoiser, const torch::Tensor& x,
                                   const NoiseLevel& level) {
  const EpsJacobian of_x = eps_jacobian_exact(denoiser, x, level);
  return {of_x.eps, of_x.jacobian.diagonal(0, 1, 2).sum(1)};
}

namespace {

// use(d, the gradient of eps_hat_d in x, (b, D) float64) for each dimension d; returns eps_hat.
template <typename Use>
torch::Tensor by_dimension(const Denoiser& denoiser, const torch::Tensor& x,
                           const NoiseLevel& level, const Use& use) {
  const torch::AutoGradMode record(true);
  const auto input = x.detach().requires_grad_(true);
  const auto eps = denoiser(input, level).eps;
  for (int64_t d = 0; d < dims_per_example(x); ++d) {
    auto unit = torch::zeros_like(eps);
    unit.flatten(1).select(1, d).fill_(1);
    const auto row = torch::autograd::grad({eps}, {input}, {unit}, /*retain_graph=*/true)[0];
    use(d, row.flatten(1).to(torch::kFloat64));
  }
  return eps.detach().to(torch::kFloat64);
}

}  // namespace

EpsDivergence eps_divergence_by_dimension(const Denoiser& denoiser, const torch::Tensor& x,
                                          const NoiseLevel& level) {
  auto divergence = torch::zeros({x.size(0)}, x.options().dtype(torch::kFloat64));
  const auto eps = by_dimension(denoiser, x, level, [&](int64_t d, const torch::Tensor& row) {
    divergence += row.select(1, d);
  });
  return {eps, divergence};
}

EpsJacobian eps_jacobian_by_dimension(const Denoiser& denoiser, const torch::Tensor& x,
                                      const NoiseLevel& level) {
  std::vector<torch::Tensor> rows;
  const auto eps = by_dimension(denoiser, x, level,
                                [&](int64_t, const torch::Tensor& row) { rows.push_back(row); });
  return {eps, torch::stack(rows, 1)};
}

EpsDivergence eps_divergence_probed(const Denoiser& denoiser, const torch::Tensor& x,
                                    const NoiseLevel& level, const torch::Tensor& probe) {
  const torch::AutoGradMode record(true);
  const auto input = x.detach().requires_grad_(true);
  const auto eps = denoiser(input, level).eps;
  const auto vjp = torch::autograd::grad({eps}, {input}, {probe.to(eps.scalar_type())})[0];
  return {eps.detach().to(torch::kFloat64), sum_per_example(vjp.to(torch::kFloat64) * probe)};
}

NoiseLevel repeat_level(const NoiseLevel& level, int64_t times) {
  return {level.alpha.repeat_interleave(times), level.sigma.repeat_interleave(times),
          level.log_snr.repeat_interleave(times)};
}

}  // namespace scorenet::diffusion
