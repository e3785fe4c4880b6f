// nll0 and nll1 for many dimensions, at a cost proportional to the number of steps.
//
//     nll1 = -int [c (div eps + eps.p) + sigma^2 / 2 |p|^2] dL - lap,
//     lap = int g^2 / 2 lap l0 dt,   c = sigma / 2.
// Rademacher probes z turn div eps and the source grad div F of p into vector-Jacobian products and
// their gradients. Both are linear in the probe's z z^T, so unbiased; |p|^2 is not, and is taken as
// p.p' of two adjoints with independent probes.
//
// lap comes from the stochastic tangent d xi = J xi dt + g dw, xi = 0 at t_min:
//     lap = E[ 1/2 xi.(Hess log N) xi at t_max + 1/2 int D_xi^2 (div F + p.F) dt ].
// The noise enters at the grid's points with Simpson's weights w_k, xi += sqrt(w_k) sigma_k eta_k,
// eta Rademacher: its mean is Simpson's rule for lap. eta_k is a function of its address, so the
// pass back from t_max, which carries (x, xi, p, p') together, takes each eta_k out again: nothing
// is stored along the path.
#include <torch/autograd.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/flow_jet.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "framework/diffusion/likelihood/wkb.hpp"
#include "framework/diffusion/ode_solver.hpp"

namespace scorenet::diffusion {
namespace {

// Network evaluations, with a vector-Jacobian product as 2 and the gradient of one as 6.
constexpr double kForwardStage = 2;                     // eps at x and x + d
constexpr double kBackwardStage = 1 + 2 * (2 + 6) + 3;  // two adjoints at x; a product at x + d

void check(const WkbProbeOptions& options) {
  if (options.steps < 2 || options.steps % 2 != 0) {
    throw ConfigError("wkb: steps = " + std::to_string(options.steps) +
                      ", must be even and at least 2 (Simpson's rule).");
  }
  if (options.windows > 0 && options.steps % (2 * options.windows) != 0) {
    throw ConfigError("wkb: " + std::to_string(options.windows) + " windows of " +
                      std::to_string(options.steps) +
                      " steps; each must have an even number of steps.");
  }
  if (options.repeats < 1) {
    throw ConfigError("wkb: repeats = " + std::to_string(options.repeats) +
                      ", must be at least 1.");
  }
  if (!(options.tangent_step > 0)) {
    throw ConfigError("wkb: tangent_step = " + std::to_string(options.tangent_step) +
                      ", must be > 0.");
  }
}

// The part of the grid whose share of nll1 is wanted: points first..last, an even number of steps.
struct Window {
  int64_t first, last;
};

// One estimate for a batch, (b, D) throughout.
class ProbedPath {
 public:
  ProbedPath(const Denoiser& denoiser, const Schedule& schedule, const WkbProbeOptions& options,
             const torch::Tensor& x, const std::vector<int64_t>& slots, int64_t repeat,
             Window window)
      : denoiser_(denoiser),
        schedule_(schedule),
        options_(options),
        slots_(slots),
        repeat_(repeat),
        window_(window),
        x_start_(x.to(torch::kFloat64).flatten(1)),
        range_(log_snr_range(schedule)) {
    shape_ = x.sizes().vec();
    shape_[0] = -1;
    step_ = (range_.noisy - range_.clean) / static_cast<double>(options.steps);
    probe_ = draw(0);
    other_probe_ = draw(1);
  }

  struct Estimate {
    torch::Tensor nll0, nll1;  // (b)
  };

  Estimate estimate() const {
    // There: x and the tangent xi from t_min to t_max. Back: x and xi along the same points, and
    // with them the adjoints p and p', whose values are known at t_max alone.
    const auto [x, xi] = forward();
    const double variance = schedule_.prior_variance();
    const auto zero = torch::zeros({x.size(0), 1}, x.options());
    // The Hessian of the prior is -I / P.
    const auto lap_end = -0.5 * xi.square().sum(1) / variance;
    // (x, xi, p, p', int div F, nll1): p = grad log N(x; 0, P I) = -x / P at t_max.
    auto y =
        torch::cat({x, xi - kick(options_.steps), -x / variance, -x / variance, zero, zero}, 1);
    for (int64_t k = options_.steps; k > 0; --k) {
      const bool wanted = k - 1 >= window_.first && k <= window_.last;
      const BatchRhs rhs = [&](double log_snr, const torch::Tensor& state) {
        return backward_velocity(log_snr, state, wanted);
      };
      y = runge_kutta4_step(rhs, log_snr_at(k), -step_, y);
      const int64_t dims = x.size(1);
      // The noise that the tangent was given at this point is drawn again and taken out.
      y = torch::cat(
          {y.slice(1, 0, dims), y.slice(1, dims, 2 * dims) - kick(k - 1), y.slice(1, 2 * dims)}, 1);
    }
    const auto scalars = y.slice(1, 4 * x.size(1));
    return {-(log_prior(schedule_, x) + scalars.select(1, 0)), scalars.select(1, 1) - lap_end};
  }

 private:
  double log_snr_at(int64_t k) const { return range_.clean + static_cast<double>(k) * step_; }

  // Each repeat owns a block of addresses: two probes, then one eta a grid point.
  torch::Tensor draw(int64_t index) const {
    const auto address = static_cast<uint64_t>(repeat_ * (options_.steps + 3) + index);
    const RandomKey key{options_.seed, RandomStream::trace_probe, address};
    return rademacher_for_slots(key, slots_, {x_start_.size(1)}, torch::kFloat64,
                                x_start_.device());
  }

  // sqrt(w_k) sigma_k eta_k.
  torch::Tensor kick(int64_t k) const {
    if (k < window_.first || k > window_.last) return torch::zeros_like(x_start_);
    const bool at_end = k == window_.first || k == window_.last;
    const double simpson = at_end ? 1 : ((k - window_.first) % 2 == 1 ? 4 : 2);
    const FlowLevel at = flow_level(schedule_, torch::full({1}, log_snr_at(k), torch::kFloat64));
    const double sigma = 2 * at.half_sigma.item<double>();
    const double share = hbar_at(options_.hbar_shape, 1, at.t.item<double>());
    return std::sqrt(share * simpson * std::abs(step_) / 3) * sigma * draw(2 + k);
  }

  torch::Tensor eps_at(const torch::Tensor& x, const NoiseLevel& level) const {
    return denoiser_(x.reshape(shape_), level).eps.to(torch::kFloat64).flatten(1);
  }

  // The displacement along xi whose root mean square is tangent_step sigma, and its ratio to xi.
  struct Displacement {
    torch::Tensor vector, ratio;  // (b, D), (b, 1)
  };
  Displacement displacement(const torch::Tensor& xi, const FlowLevel& at) const {
    const auto size = xi.square().mean(1, true).sqrt().clamp_min(1e-30);
    const auto ratio = 2 * options_.tangent_step * at.half_sigma.unsqueeze(1) / size;
    return {ratio * xi, ratio};
  }

  std::pair<torch::Tensor, torch::Tensor> forward() const {
    const int64_t dims = x_start_.size(1);
    auto y = torch::cat({x_start_, kick(0)}, 1);
    const BatchRhs rhs = [&](double log_snr, const torch::Tensor& state) {
      const auto x = state.slice(1, 0, dims), xi = state.slice(1, dims);
      const FlowLevel at = flow_level(schedule_, torch::full({x.size(0)}, log_snr, x.options()));
      // J xi by a difference along xi: one more evaluation, and no derivative.
      const auto [d, ratio] = displacement(xi, at);
      const auto eps = eps_at(x, at.level);
      const auto eps_xi = (eps_at(x + d, at.level) - eps) / ratio;
      return torch::cat({flow_velocity(at, x, eps), flow_velocity(at, xi, eps_xi)}, 1);
    };
    for (int64_t k = 0; k < options_.steps; ++k) {
      y = runge_kutta4_step(rhs, log_snr_at(k), step_, y);
      y = torch::cat({y.slice(1, 0, dims), y.slice(1, dims) + kick(k + 1)}, 1);
    }
    return {y.slice(1, 0, dims), y.slice(1, dims)};
  }

  // eps, z.J z, and with p: the gradient of p.eps + z.J z.
  struct Adjoint {
    torch::Tensor trace, gradient;  // (b), (b, D)
  };
  static Adjoint adjoint(const torch::Tensor& x, const torch::Tensor& eps, const torch::Tensor& p,
                         const torch::Tensor& z) {
    const auto trace = (gradient_or_zero((eps * z).sum(1), x, true) * z).sum(1);
    const auto gradient = gradient_or_zero((p * eps).sum(1) + trace, x, false);
    return {trace.detach(), gradient};
  }

  // eps and p.eps + z.J z at a displaced point.
  struct Displaced {
    torch::Tensor eps, value;  // (b, D), (b)
  };
  Displaced displaced(const torch::Tensor& at, const NoiseLevel& level,
                      const torch::Tensor& p) const {
    const torch::AutoGradMode record(true);
    const auto x = at.detach().requires_grad_(true);
    const auto eps = eps_at(x, level);
    const auto trace = (gradient_or_zero((eps * probe_).sum(1), x, false) * probe_).sum(1);
    return {eps.detach(), ((p * eps).sum(1) + trace).detach()};
  }

  // d/dL of (x, xi, p, p', int div F, nll1). Towards rising L, so int div F dt of the forward path
  // is its negative.
  torch::Tensor backward_velocity(double log_snr, const torch::Tensor& state, bool wanted) const {
    const int64_t dims = x_start_.size(1);
    const auto parts = state.split_with_sizes({dims, dims, dims, dims, 1, 1}, 1);
    const auto &xi = parts[1], &p = parts[2], &q = parts[3];
    const FlowLevel at =
        flow_level(schedule_, torch::full({state.size(0)}, log_snr, state.options()));
    const auto a = at.linear.unsqueeze(1), c = at.half_sigma.unsqueeze(1);

    torch::Tensor eps;
    Adjoint one, two;
    {
      const torch::AutoGradMode record(true);
      const auto x = parts[0].detach().requires_grad_(true);
      const auto graph_eps = eps_at(x, at.level);
      one = adjoint(x, graph_eps, p, probe_);
      two = adjoint(x, graph_eps, q, other_probe_);
      eps = graph_eps.detach();
    }
    const auto [d, ratio] = displacement(xi, at);
    const Displaced there = displaced(parts[0] + d, at.level, p);
    const auto eps_xi = (there.eps - eps) / ratio;
    // D_xi^2 (div F + p.F) = -c D_xi^2 psi, psi = div eps + p.eps (F's linear part has no second
    // derivative), from psi(x + d) = psi + d.grad psi + D_d^2 psi / 2. Odd orders of d vanish in
    // the mean: eta -> -eta turns d around.
    const auto psi = (p * eps).sum(1) + one.trace;
    const auto bend = there.value - psi - (d * one.gradient).sum(1);
    const auto second = -at.half_sigma * 2 * bend / ratio.squeeze(1).square();

    const auto trace = (one.trace + two.trace) / 2;
    const auto stein = trace + (eps * (p + q)).sum(1) / 2;
    // Outside the window only lap has a share: the tangent noise of the window, carried
    // on to t_max.
    const double share = hbar_at(options_.hbar_shape, 1, at.t[0].item<double>());
    const auto local =
        share * (-at.half_sigma * stein - 2 * at.half_sigma.square() * (p * q).sum(1));
    const auto d_nll1 = (wanted ? local : torch::zeros_like(local)) + second / 2;
    const auto d_volume = -(static_cast<double>(dims) * at.linear - at.half_sigma * trace);
    return torch::cat(
        {flow_velocity(at, parts[0], eps), flow_velocity(at, xi, eps_xi), -a * p + c * one.gradient,
         -a * q + c * two.gradient, d_volume.unsqueeze(1), d_nll1.unsqueeze(1)},
        1);
  }

  const Denoiser& denoiser_;
  const Schedule& schedule_;
  const WkbProbeOptions& options_;
  const std::vector<int64_t>& slots_;
  int64_t repeat_;
  Window window_;
  torch::Tensor x_start_;
  LogSnrRange range_;
  std::vector<int64_t> shape_;
  double step_;  // negative: from data to noise
  torch::Tensor probe_, other_probe_;
};

}  // namespace

LikelihoodResult wkb_probed(const Denoiser& denoiser, const Schedule& schedule,
                            const torch::Tensor& x, const std::vector<int64_t>& slots,
                            const WkbProbeOptions& options) {
  const torch::NoGradGuard no_grad;
  const PlainAttention twice_differentiable;
  check(options);
  const WkbWindows windows = wkb_windows(schedule, options.windows);
  const int64_t parts = std::max<int64_t>(options.windows, 1), length = options.steps / parts;
  std::vector<torch::Tensor> nll0, nll1;  // by repeat
  auto shares = torch::zeros({parts, x.size(0)}, torch::kFloat64);
  for (int64_t repeat = 0; repeat < options.repeats; ++repeat) {
    auto sum = torch::zeros({x.size(0)}, torch::kFloat64);
    for (int64_t w = 0; w < parts; ++w) {
      const Window window{w * length, (w + 1) * length};
      const auto one = ProbedPath(denoiser, schedule, options, x, slots, repeat, window).estimate();
      if (w == 0) nll0.push_back(one.nll0.to(torch::kCPU));  // the same in every window
      const auto share = one.nll1.to(torch::kCPU);
      shares[w] += share / static_cast<double>(options.repeats);
      sum += share;
    }
    nll1.push_back(sum);
  }
  const auto all0 = torch::stack(nll0), all1 = torch::stack(nll1);
  LikelihoodResult result;
  result.kind = ResultKind::estimate;
  result.nats = all0.mean(0);
  result.terms = {{"nll0", result.nats}, {"nll1", all1.mean(0)}};
  for (int64_t w = 0; w < options.windows; ++w)
    result.terms.emplace_back(windows.terms[static_cast<size_t>(w)], shares[w]);
  if (options.repeats > 1) {
    const double root = std::sqrt(static_cast<double>(options.repeats));
    result.terms.emplace_back("nll0_stderr", all0.std(0) / root);
    result.terms.emplace_back("nll1_stderr", all1.std(0) / root);
  }
  const double stages = 4.0 * static_cast<double>(options.steps * options.repeats * parts);
  result.nfe = torch::full_like(result.nats, stages * (kForwardStage + kBackwardStage));
  return result;
}

}  // namespace scorenet::diffusion
