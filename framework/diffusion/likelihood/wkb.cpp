#include "framework/diffusion/likelihood/wkb.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <functional>

#include "framework/core/check.hpp"
#include "framework/diffusion/likelihood/exactness.hpp"
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

// The system's right-hand side, for integration from t_max.
class Backward {
 public:
  Backward(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x,
           const HbarShape& hbar_shape)
      : denoiser_(denoiser),
        schedule_(schedule),
        shape_(example_shape_of(x)),
        dims_(dims_per_example(x)),
        hbar_shape_(hbar_shape) {}

  torch::Tensor operator()(const torch::Tensor& /*rows*/, const torch::Tensor& log_snr,
                           const torch::Tensor& y) const {
    return velocity(flow_level(schedule_, log_snr), State::unpacked(y, dims_)).packed();
  }

 private:
  State velocity(const FlowLevel& at, const State& now) const {
    const EpsJet jet = eps_jet(denoiser_, now.x, shape_, at.level, now.p);
    const auto a = at.linear.unsqueeze(1), c = at.half_sigma.unsqueeze(1);  // F = a x - c eps
    const auto jt_p = torch::einsum("bij,bi->bj", {jet.jacobian, now.p});
    const auto jt_h = torch::matmul(jet.jacobian.transpose(1, 2), now.hessian);
    // div b + b.p = -c (div eps + eps.p) - sigma^2 / 2 (lap l0 + |p|^2), sigma^2 / 2 = 2 c^2.
    const auto trace_h = now.hessian.diagonal(0, 1, 2).sum(1);
    const auto stein_eps = jet.divergence + (jet.eps * now.p).sum(1);
    const auto stein_p = trace_h + now.p.square().sum(1);
    const auto d_l1 = at.half_sigma * stein_eps + 2 * at.half_sigma.square() * stein_p;
    return {flow_velocity(at, now.x, jet.eps), -a * now.p + c * (jt_p + jet.grad_divergence),
            -2 * a.unsqueeze(2) * now.hessian +
                c.unsqueeze(2) * (jt_h + jt_h.transpose(1, 2) + jet.curvature),
            -static_cast<double>(dims_) * at.linear + at.half_sigma * jet.divergence,
            hbar_shape_ ? d_l1 * hbar_at(hbar_shape_, 1, at.t) : d_l1};
  }

  const Denoiser& denoiser_;
  const Schedule& schedule_;
  std::vector<int64_t> shape_;
  int64_t dims_;
  const HbarShape& hbar_shape_;
};

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

// Both passes at one precision. REQUIRES steps that the windows share evenly.
LikelihoodResult solved(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x,
                        const WkbOptions& options) {
  const WkbWindows windows = wkb_windows(schedule, std::max<int64_t>(options.windows, 1));
  const auto parts = static_cast<int64_t>(windows.terms.size());
  const OdeSolution noisy = to_prior(denoiser, schedule, x, options);
  // A failed first pass starts the second as NaN and fails it, too.
  const Backward rhs(denoiser, schedule, x, options.hbar_shape);
  auto y = at_prior(schedule, noisy.y).packed();
  auto evaluations = noisy.evaluations;
  std::vector<torch::Tensor> shares;  // of nll1, from the noisy end
  for (int64_t w = parts; w > 0; --w) {
    const auto edge = [&](int64_t i) { return windows.log_snr[i].item<double>(); };
    const OdeSolution part = integrate(std::cref(rhs), edge(w), edge(w - 1), y,
                                       options.steps / parts, {options.rtol, options.atol});
    shares.push_back((y.select(1, -1) - part.y.select(1, -1)).to(torch::kCPU));
    y = part.y;
    evaluations = evaluations + part.evaluations;
  }
  const State end = State::unpacked(y.to(torch::kCPU), dims_per_example(x));
  LikelihoodResult result;
  result.nats = -end.l0;
  result.terms = {{"nll0", -end.l0}, {"nll1", -end.l1}};
  for (int64_t w = 0; w < options.windows; ++w) {
    result.terms.emplace_back(windows.terms[static_cast<size_t>(w)],
                              shares[static_cast<size_t>(parts - 1 - w)]);
  }
  result.nfe = evaluations.to(torch::kCPU, torch::kFloat64);
  return result;
}

}  // namespace

WkbWindows wkb_windows(const Schedule& schedule, int64_t windows) {
  if (windows < 0) {
    throw ConfigError("wkb: windows = " + std::to_string(windows) + ", must be at least 0.");
  }
  const LogSnrRange range = log_snr_range(schedule);
  const auto log_snr = torch::linspace(range.clean, range.noisy, windows + 1, torch::kFloat64);
  WkbWindows result{
      {}, schedule.time_of(log_snr).clamp(schedule.t_min(), schedule.t_max()), log_snr};
  for (int64_t w = 1; w <= windows; ++w) result.terms.push_back("window_" + std::to_string(w));
  return result;
}

LikelihoodResult wkb_exact(const Denoiser& denoiser, const Schedule& schedule,
                           const torch::Tensor& x, const WkbOptions& options) {
  const torch::NoGradGuard no_grad;
  const PlainAttention twice_differentiable;
  const int64_t parts = std::max<int64_t>(options.windows, 1);
  wkb_windows(schedule, options.windows);  // refuses a negative number
  if (options.steps % parts != 0) {
    throw ConfigError("wkb: " + std::to_string(parts) + " windows of " +
                      std::to_string(options.steps) +
                      " steps; each must have the same number of steps.");
  }
  const SolverPrecision precision{options.steps, options.rtol, options.atol};
  LikelihoodResult result = solved(denoiser, schedule, x, options);
  // Without windows: they share the same nll1.
  const SolverPrecision coarse = precision.second();
  const LikelihoodResult second =
      solved(denoiser, schedule, x,
             {coarse.steps, coarse.rtol, coarse.atol, /*windows=*/0, options.hbar_shape});
  result.kind = ResultKind::exact;
  for (const std::string term : {"nll0", "nll1"}) {
    const auto &first_value = result.term(term), &second_value = second.term(term);
    // Steps that the caller chose make an estimate where they are too few; an adaptive solver has
    // no such excuse.
    if (options.steps == 0)
      require_agreement("wkb, " + term, first_value, second_value, precision, x);
    else if (!agree(first_value, second_value, precision, x.scalar_type()))
      result.kind = ResultKind::estimate;
  }
  result.nfe = result.nfe + second.nfe;
  return result;
}

}  // namespace scorenet::diffusion
