#include "framework/diffusion/likelihood/hbar_elbo.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "framework/diffusion/ode_solver.hpp"

namespace scorenet::diffusion {
namespace {

void check(const HbarOptions& options) {
  if (options.hbars.empty()) {
    throw ConfigError("hbar likelihood: the list of hbar is empty. Give values such as 0,0.1,1.");
  }
  for (const double hbar : options.hbars) {
    if (!(hbar >= 0)) {
      throw ConfigError("hbar likelihood: hbar = " + std::to_string(hbar) +
                        ", must be at least 0.");
    }
  }
  if (options.paths < 1 || options.steps < 1) {
    throw ConfigError("hbar likelihood: paths = " + std::to_string(options.paths) +
                      ", steps = " + std::to_string(options.steps) + "; both must be at least 1.");
  }
}

struct PathWeight {
  torch::Tensor log_prior;  // (B)
  torch::Tensor path;       // (B): the integrals
};

// One path of every example at one h.
class Path {
 public:
  Path(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x,
       const std::vector<int64_t>& slots, const HbarOptions& options, double hbar, int64_t index)
      : denoiser_(denoiser),
        schedule_(schedule),
        slots_(slots),
        options_(options),
        hbar_(hbar),
        index_(index),
        x_start_(x.to(torch::kFloat64)),
        range_(log_snr_range(schedule)) {
    shape_ = x.sizes().vec();
    shape_[0] = -1;
    dims_ = dims_per_example(x);
    step_ = (range_.noisy - range_.clean) / static_cast<double>(options.steps);
    if (!options.exact_trace) probe_ = trace_probes(options.seed, 0, slots, x);
  }

  PathWeight weight() const {
    auto y = torch::cat(
        {x_start_.flatten(1), torch::zeros({x_start_.size(0), 1}, x_start_.options())}, 1);
    const BatchRhs rhs = [this](double log_snr, const torch::Tensor& state) {
      return drift(log_snr, state);
    };
    for (int64_t k = 0; k < options_.steps; ++k) {
      y = kicked(y, k);
      y = runge_kutta4_step(rhs, log_snr_at(k), step_, y);
    }
    y = kicked(y, options_.steps);
    return {log_prior(schedule_, y.slice(1, 0, dims_)), y.select(1, dims_)};
  }

  // Denoiser evaluations of one path: four a step and three a kick, wherever h(t) > 0 could be.
  double evaluations() const {
    const auto steps = static_cast<double>(options_.steps);
    return 4 * steps + (hbar_ > 0 ? 3 * (steps + 1) : 0);
  }

 private:
  double log_snr_at(int64_t k) const { return range_.clean + static_cast<double>(k) * step_; }

  double hbar_at(const FlowLevel& at) const {
    return diffusion::hbar_at(options_.hbar_shape, hbar_, at.t[0].item<double>());
  }

  FlowLevel level_at(double log_snr) const {
    return flow_level(schedule_, torch::full({x_start_.size(0)}, log_snr, x_start_.options()));
  }

  EpsDivergence divergence(const torch::Tensor& x, const NoiseLevel& level) const {
    if (!options_.exact_trace) return eps_divergence_probed(denoiser_, x, level, probe_);
    if (options_.whole_batch) return eps_divergence_by_dimension(denoiser_, x, level);
    return eps_divergence_exact(denoiser_, x, level);
  }

  // d/dL of X and of int [div F - h/2 g^2 |s|^2] dt: g^2 |s|^2 dt = -|eps|^2 dL.
  torch::Tensor drift(double log_snr, const torch::Tensor& y) const {
    const FlowLevel at = level_at(log_snr);
    const auto x = y.slice(1, 0, dims_).reshape(shape_);
    const EpsDivergence eps = divergence(x, at.level);
    const auto volume = static_cast<double>(dims_) * at.linear - at.half_sigma * eps.divergence;
    const double hbar = hbar_at(at);
    const auto weight = volume + hbar / 2 * sum_per_example(eps.eps.square());
    return torch::cat({flow_velocity(at, x, (1 - hbar) * eps.eps).flatten(1), weight.unsqueeze(1)},
                      1);
  }

  // X += sqrt(h) g dw over half a step on either side of grid point k, minus int s o dX = + int
  // eps.dX / sigma.
  torch::Tensor kicked(const torch::Tensor& y, int64_t k) const {
    if (hbar_ == 0) return y;
    const double share = (k == 0 || k == options_.steps) ? 0.5 : 1.0;
    const FlowLevel at = level_at(log_snr_at(k));
    const double hbar = hbar_at(at);
    if (hbar == 0) return y;
    const auto x = y.slice(1, 0, dims_).reshape(shape_);
    const auto sigma = broadcast_to_batch(2 * at.half_sigma, x);
    const auto kick = std::sqrt(hbar * share * std::abs(step_)) * sigma * noise(k);
    const auto eps = [&](double along) {
      return denoiser_(x + along * kick, at.level).eps.to(torch::kFloat64);
    };
    const auto mean_eps = (eps(0) + 4 * eps(0.5) + eps(1)) / 6;
    const auto work = sum_per_example(mean_eps * kick / sigma);
    return torch::cat({(x + kick).flatten(1), (y.select(1, dims_) + work).unsqueeze(1)}, 1);
  }

  torch::Tensor noise(int64_t k) const {
    const auto address = static_cast<uint64_t>(index_ * (options_.steps + 1) + k);
    const RandomKey key{options_.seed, RandomStream::importance_path, address};
    return normal_for_slots(key, slots_, x_start_.sizes().slice(1), torch::kFloat64,
                            x_start_.device());
  }

  const Denoiser& denoiser_;
  const Schedule& schedule_;
  const std::vector<int64_t>& slots_;
  const HbarOptions& options_;
  double hbar_;
  int64_t index_;
  torch::Tensor x_start_;
  LogSnrRange range_;
  std::vector<int64_t> shape_;
  int64_t dims_;
  double step_;  // negative: from data to noise
  torch::Tensor probe_;
};

HbarLikelihood at_hbar(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x,
                       const std::vector<int64_t>& slots, const HbarOptions& options, double hbar) {
  // Without noise all paths are one.
  const int64_t paths = hbar > 0 ? options.paths : 1;
  std::vector<torch::Tensor> priors, integrals;
  double evaluations = 0;
  for (int64_t index = 0; index < paths; ++index) {
    const Path path(denoiser, schedule, x, slots, options, hbar, index);
    const PathWeight weight = path.weight();
    priors.push_back(weight.log_prior.to(torch::kCPU));
    integrals.push_back(weight.path.to(torch::kCPU));
    evaluations += path.evaluations();
  }
  const auto prior = torch::stack(priors), integral = torch::stack(integrals);
  const auto log_w = prior + integral;
  HbarLikelihood result{hbar, {}, {}};
  result.elbo.kind = result.importance.kind = ResultKind::bound;
  result.elbo.nats = -log_w.mean(0);
  result.elbo.terms = {{"prior", -prior.mean(0)}, {"path", -integral.mean(0)}};
  result.importance.nats = std::log(static_cast<double>(paths)) - torch::logsumexp(log_w, 0);
  result.elbo.nfe = result.importance.nfe = torch::full_like(result.elbo.nats, evaluations);
  return result;
}

}  // namespace

std::vector<HbarLikelihood> hbar_likelihood(const Denoiser& denoiser, const Schedule& schedule,
                                            const torch::Tensor& x,
                                            const std::vector<int64_t>& slots,
                                            const HbarOptions& options) {
  const torch::NoGradGuard no_grad;
  check(options);
  std::vector<HbarLikelihood> results;
  for (const double hbar : options.hbars) {
    results.push_back(at_hbar(denoiser, schedule, x, slots, options, hbar));
  }
  return results;
}

BestHbar best_hbar(const std::vector<double>& hbars, const torch::Tensor& nats, int64_t reference) {
  const auto rows = static_cast<int64_t>(hbars.size());
  if (nats.dim() != 2 || nats.size(0) != rows || reference < 0 || reference >= rows) {
    throw ConfigError("best hbar: " + std::to_string(rows) + " values of hbar and reference " +
                      std::to_string(reference) + " do not fit results of shape " +
                      shape_string(nats.sizes()) + ".");
  }
  const auto finite = torch::isfinite(nats).all(0).nonzero().squeeze(1);
  const auto n = static_cast<double>(finite.numel());
  if (finite.numel() == 0) {
    throw ConfigError("best hbar: no example of " + std::to_string(nats.size(1)) +
                      " is finite at every hbar.");
  }
  const auto kept = nats.to(torch::kFloat64).index_select(1, finite);
  const auto best = kept.mean(1).argmin().item<int64_t>();
  const auto gain = kept[reference] - kept[best];
  const auto standard_error = [&](const torch::Tensor& values) {
    return n > 1 ? values.std().item<double>() / std::sqrt(n) : std::nan("");
  };
  const double hbar = hbars[static_cast<size_t>(best)];
  BestHbar chosen{hbar,
                  kept[best].mean().item<double>(),
                  standard_error(kept[best]),
                  gain.mean().item<double>(),
                  standard_error(gain),
                  /*hbar_low=*/hbar,
                  /*hbar_high=*/hbar,
                  finite.numel()};
  for (int64_t row = 0; row < rows; ++row) {
    const auto loss = kept[row] - kept[best];
    if (!(loss.mean().item<double>() <= 2 * standard_error(loss))) continue;
    chosen.hbar_low = std::min(chosen.hbar_low, hbars[static_cast<size_t>(row)]);
    chosen.hbar_high = std::max(chosen.hbar_high, hbars[static_cast<size_t>(row)]);
  }
  return chosen;
}

}  // namespace scorenet::diffusion
