// The law of the reverse family for Gaussian data and an affinely wrong score, by its
// moment equations alone:
//     s(x) = k grad log q_t(x) + A x + c,
//     dX/dL = a X + (1 + h)/2 sigma^2 s,    dC/dL = M C + C M^T + h sigma^2 I
// for L = log_snr rising from t_max, X ~ N(0, P I) there. Independent of every likelihood
// evaluator. h may depend on time: h(t) = hbar shape(t).
#pragma once

#include <torch/utils.h>

#include <cmath>
#include <numbers>

#include "framework/diffusion/hbar_shape.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "framework/diffusion/ode_solver.hpp"
#include "tests/framework/diffusion/support.hpp"

namespace scorenet::test {

using namespace diffusion;

struct AffineReverse {
  torch::Tensor mean, covariance;  // of x0: (D), (D, D)
  ScoreErrors errors;

  Denoiser denoiser() const {
    const auto law =
        std::make_shared<GaussianMixture>(doubles({1}), mean.unsqueeze(0), covariance.unsqueeze(0));
    return make_mixture_denoiser(law, errors);
  }

  // -log q^h(x) at t_min for rows x (B, D).
  torch::Tensor nats(const Schedule& schedule, const torch::Tensor& x, double hbar_scale,
                     const HbarShape& shape = {}) const {
    const int64_t dims = mean.size(0);
    const auto identity = torch::eye(dims, torch::kFloat64);
    const BatchRhs rhs = [&](double log_snr, const torch::Tensor& y) {
      const FlowLevel at = flow_level(schedule, doubles({log_snr}));
      const double hbar = hbar_scale * (shape ? shape(at.t.item<double>()) : 1.0);
      const auto alpha = at.level.alpha, sigma2 = at.level.sigma.square();
      const auto precision = torch::linalg_inv(alpha.square() * covariance + sigma2 * identity);
      auto slope = -errors.score_scale * precision;
      auto offset = errors.score_scale * torch::mv(precision, alpha * mean);
      if (errors.linear.defined()) slope = slope + errors.linear;
      if (errors.offset.defined()) offset = offset + errors.offset;
      const auto drift = at.linear * identity + (1 + hbar) / 2 * sigma2 * slope;
      const auto m = y.select(1, dims), c = y.slice(1, 0, dims);
      const auto mc = torch::matmul(drift, c);
      const auto dm = torch::mv(drift, m) + (1 + hbar) / 2 * sigma2 * offset;
      return torch::cat({mc + mc.t() + hbar * sigma2 * identity, dm.unsqueeze(1)}, 1);
    };
    const LogSnrRange range = log_snr_range(schedule);
    const int steps = 500;  // 1e-6 over the 21 nats of edm
    const double step = (range.clean - range.noisy) / steps;
    auto y = torch::cat(
        {schedule.prior_variance() * identity, torch::zeros({dims, 1}, torch::kFloat64)}, 1);
    for (int i = 0; i < steps; ++i) y = runge_kutta4_step(rhs, range.noisy + i * step, step, y);
    const auto gap = x - y.select(1, dims);
    const auto c = y.slice(1, 0, dims);
    const auto energy = (torch::matmul(gap, torch::linalg_inv(c)) * gap).sum(1);
    return 0.5 *
           (energy + torch::logdet(c) + static_cast<double>(dims) * std::log(2 * std::numbers::pi));
  }

  // d nats / dh at 0 by central differences: third derivatives are of order (log r)^3 = 10^3, so
  // the error is 1e-6.
  torch::Tensor slope_at_zero(const Schedule& schedule, const torch::Tensor& x,
                              const HbarShape& shape = {}) const {
    const double h = 1e-4;
    return (nats(schedule, x, h, shape) - nats(schedule, x, -h, shape)) / (2 * h);
  }
};

// Two correlated dimensions, the score scaled, turned and shifted.
inline AffineReverse turned_problem() {
  AffineReverse problem{
      doubles({0.3, -0.2}), torch::tensor({{0.3, 0.1}, {0.1, 0.2}}, torch::kFloat64), {}};
  problem.errors.score_scale = 1.05;
  problem.errors.linear = torch::tensor({{0.05, 0.2}, {-0.2, -0.1}}, torch::kFloat64);
  problem.errors.offset = doubles({0.1, -0.05});
  return problem;
}

}  // namespace scorenet::test
