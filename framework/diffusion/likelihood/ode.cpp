#include "framework/diffusion/likelihood/ode.hpp"

#include <torch/utils.h>

#include <string>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "framework/diffusion/ode_solver.hpp"

namespace scorenet::diffusion {
namespace {

void check(const OdeLikelihoodOptions& options) {
  if (options.probes < 1) {
    throw ConfigError("ode likelihood: probes = " + std::to_string(options.probes) +
                      ", must be at least 1.");
  }
}

// d(x, l)/dL with l = int div F dL, as one (b, D + 1) tensor.
class Augmented {
 public:
  Augmented(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x,
            std::vector<torch::Tensor> probes)
      : denoiser_(denoiser), schedule_(schedule), probes_(std::move(probes)) {
    shape_ = x.sizes().vec();
    shape_[0] = -1;
    dims_ = dims_per_example(x);
  }

  torch::Tensor operator()(const torch::Tensor& rows, const torch::Tensor& log_snr,
                           const torch::Tensor& y) const {
    const auto x = y.slice(1, 0, dims_).reshape(shape_);
    const FlowLevel at = flow_level(schedule_, log_snr);
    const EpsDivergence eps = divergence(x, at.level, rows);
    const auto volume = static_cast<double>(dims_) * at.linear - at.half_sigma * eps.divergence;
    return torch::cat({flow_velocity(at, x, eps.eps).flatten(1), volume.unsqueeze(1)}, 1);
  }

 private:
  EpsDivergence divergence(const torch::Tensor& x, const NoiseLevel& level,
                           const torch::Tensor& rows) const {
    if (probes_.empty()) return eps_divergence_exact(denoiser_, x, level);
    EpsDivergence mean;
    for (const auto& probe : probes_) {
      const auto one = eps_divergence_probed(denoiser_, x, level, probe.index_select(0, rows));
      mean.eps = one.eps;
      mean.divergence =
          mean.divergence.defined() ? mean.divergence + one.divergence : one.divergence;
    }
    mean.divergence = mean.divergence / static_cast<double>(probes_.size());
    return mean;
  }

  const Denoiser& denoiser_;
  const Schedule& schedule_;
  std::vector<torch::Tensor> probes_;
  std::vector<int64_t> shape_;
  int64_t dims_ = 0;
};

}  // namespace

torch::Tensor trace_probes(uint64_t seed, int64_t index, const std::vector<int64_t>& slots,
                           const torch::Tensor& x) {
  if (x.dim() < 1 || x.size(0) != static_cast<int64_t>(slots.size())) {
    throw ShapeError("likelihood: x of shape " + shape_string(x.sizes()) + " with " +
                     std::to_string(slots.size()) + " slots; there must be one slot an example.");
  }
  const RandomKey key{seed, RandomStream::trace_probe, static_cast<uint64_t>(index)};
  return rademacher_for_slots(key, slots, x.sizes().slice(1), torch::kFloat64, x.device());
}

LikelihoodResult ode_likelihood(const Denoiser& denoiser, const Schedule& schedule,
                                const torch::Tensor& x, const std::vector<int64_t>& slots,
                                const OdeLikelihoodOptions& options) {
  const torch::NoGradGuard no_grad;
  check(options);
  std::vector<torch::Tensor> probes;
  for (int64_t i = 0; i < (options.exact_trace ? 0 : options.probes); ++i) {
    probes.push_back(trace_probes(options.seed, i, slots, x));
  }
  const Augmented rhs(denoiser, schedule, x, std::move(probes));
  const auto start = torch::cat({x.to(torch::kFloat64).flatten(1),
                                 torch::zeros({x.size(0), 1}, x.options().dtype(torch::kFloat64))},
                                1);
  const LogSnrRange range = log_snr_range(schedule);
  const OdeSolution end = integrate(std::cref(rhs), range.clean, range.noisy, start, options.steps,
                                    {options.rtol, options.atol});

  const int64_t dims = dims_per_example(x);
  const auto prior = -log_prior(schedule, end.y.slice(1, 0, dims)).to(torch::kCPU);
  const auto volume = -end.y.select(1, dims).to(torch::kCPU);
  LikelihoodResult result;
  result.kind = ResultKind::estimate;
  result.nats = prior + volume;
  result.terms = {{"prior", prior}, {"volume", volume}};
  result.nfe = end.evaluations.to(torch::kCPU, torch::kFloat64);
  return result;
}

LikelihoodResult ode_likelihood_exact(const Denoiser& denoiser, const Schedule& schedule,
                                      const torch::Tensor& x, const std::vector<int64_t>& slots,
                                      const SolverPrecision& precision) {
  const auto solve = [&](const SolverPrecision& p) {
    return ode_likelihood(denoiser, schedule, x, slots,
                          {.exact_trace = true, .steps = p.steps, .rtol = p.rtol, .atol = p.atol});
  };
  LikelihoodResult result = solve(precision);
  const LikelihoodResult second = solve(precision.second());
  require_agreement("ode, -log p", result.nats, second.nats, precision, x);
  result.kind = ResultKind::exact;
  result.nfe = result.nfe + second.nfe;
  return result;
}

}  // namespace scorenet::diffusion
