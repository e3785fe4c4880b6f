#include "framework/diffusion/likelihood/ode.hpp"

#include <torch/utils.h>

#include <cmath>
#include <string>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/likelihood/adams_flow.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "framework/diffusion/ode_solver.hpp"
#include "framework/diffusion/rows_of_batch.hpp"

namespace scorenet::diffusion {
namespace {

void check(const OdeLikelihoodOptions& options) {
  if (options.probes < 1) {
    throw ConfigError("ode likelihood: probes = " + std::to_string(options.probes) +
                      ", must be at least 1.");
  }
  if (options.adams && options.tolerance <= 0) {
    throw ConfigError("tolerance = " + std::to_string(options.tolerance) +
                      ": must be > 0. Use a number of nats for each dimension, such as 2e-3.");
  }
}

// eps_hat with its divergence, exact or by probes.
class Field {
 public:
  // whole_batch: of how many examples a denoiser must see all; 0: of none.
  Field(const Denoiser& denoiser, std::vector<torch::Tensor> probes, int64_t whole_batch)
      : denoiser_(denoiser), probes_(std::move(probes)), whole_batch_(whole_batch) {}

  EpsDivergence operator()(const torch::Tensor& rows, const torch::Tensor& x,
                           const NoiseLevel& level) const {
    if (whole_batch_ == 0) return divergence(denoiser_, rows, x, level);
    const Denoiser of_rows = denoiser_of_rows(denoiser_, rows, whole_batch_);
    if (probes_.empty()) return eps_divergence_by_dimension(of_rows, x, level);
    return divergence(of_rows, rows, x, level);
  }

 private:
  EpsDivergence divergence(const Denoiser& denoiser, const torch::Tensor& rows,
                           const torch::Tensor& x, const NoiseLevel& level) const {
    if (probes_.empty()) return eps_divergence_exact(denoiser, x, level);
    EpsDivergence mean;
    for (const auto& probe : probes_) {
      const auto one = eps_divergence_probed(denoiser, x, level, probe.index_select(0, rows));
      mean.eps = one.eps;
      mean.divergence =
          mean.divergence.defined() ? mean.divergence + one.divergence : one.divergence;
    }
    mean.divergence = mean.divergence / static_cast<double>(probes_.size());
    return mean;
  }

  const Denoiser& denoiser_;
  std::vector<torch::Tensor> probes_;
  int64_t whole_batch_;
};

// -log p in its two parts, on the CPU.
struct Parts {
  torch::Tensor prior, volume;  // (b)
  torch::Tensor evaluations;    // (b)
  torch::Tensor moved = {};     // (b): LikelihoodResult::solver_error

  torch::Tensor nats() const { return prior + volume; }

  // The parts of some examples, in place of those before.
  void take(const torch::Tensor& rows, const Parts& others) {
    prior.index_copy_(0, rows, others.prior);
    volume.index_copy_(0, rows, others.volume);
    evaluations.index_add_(0, rows, others.evaluations);
  }
};

// By the solvers of any ODE: d(x, l)/dL with l = int div F dL, as one (b, D + 1) tensor.
// rows: the places of x's examples in the batch.
Parts by_runge_kutta(const Field& field, const Schedule& schedule, const torch::Tensor& rows,
                     const torch::Tensor& x, const OdeLikelihoodOptions& options) {
  const int64_t dims = dims_per_example(x);
  std::vector<int64_t> shape = x.sizes().vec();
  shape[0] = -1;
  const OdeRhs rhs = [&](const torch::Tensor& these, const torch::Tensor& log_snr,
                         const torch::Tensor& y) {
    const auto state = y.slice(1, 0, dims).reshape(shape);
    const FlowLevel at = flow_level(schedule, log_snr);
    const EpsDivergence eps = field(rows.index_select(0, these), state, at.level);
    const auto volume = static_cast<double>(dims) * at.linear - at.half_sigma * eps.divergence;
    return torch::cat({flow_velocity(at, state, eps.eps).flatten(1), volume.unsqueeze(1)}, 1);
  };
  const auto start = torch::cat({x.flatten(1), torch::zeros({x.size(0), 1}, x.options())}, 1);
  const LogSnrRange range = log_snr_range(schedule);
  const OdeSolution end =
      integrate(rhs, range.clean, range.noisy, start, options.steps, {options.rtol, options.atol});
  return {-log_prior(schedule, end.y.slice(1, 0, dims)).cpu(), -end.y.select(1, dims).cpu(),
          end.evaluations.to(torch::kCPU, torch::kFloat64)};
}

Parts by_adams_steps(const Field& field, const Schedule& schedule, const torch::Tensor& rows,
                     const torch::Tensor& x, int64_t steps) {
  const FlowEnd end = adams_flow(field, schedule, rows, x, steps);
  const auto prior = -log_prior(schedule, end.x).cpu();
  return {prior, -end.volume.cpu(), torch::full_like(prior, static_cast<double>(steps + 1))};
}

// Twice the steps for the examples that still move; the others leave the batch. Equal steps do not
// suit a flow with a sudden turn, such as one between two narrow hills: what has not settled after
// kMostSteps is solved with steps of its own.
Parts by_adams_doubling(const Field& field, const Schedule& schedule, const torch::Tensor& all,
                        const torch::Tensor& x, const OdeLikelihoodOptions& options) {
  constexpr int64_t kFirstSteps = 16, kMostSteps = 256;
  const double allowed = options.tolerance * static_cast<double>(dims_per_example(x));
  Parts parts = by_adams_steps(field, schedule, all, x, kFirstSteps);
  parts.moved = torch::full_like(parts.prior, std::nan(""));
  torch::Tensor rows = all.cpu();
  for (int64_t steps = 2 * kFirstSteps; rows.numel() > 0 && steps <= kMostSteps; steps *= 2) {
    const auto on_device = rows.to(x.device());
    const Parts finer =
        by_adams_steps(field, schedule, on_device, x.index_select(0, on_device), steps);
    const auto moved = (finer.nats() - parts.nats().index_select(0, rows)).abs();
    parts.take(rows, finer);
    parts.moved.index_copy_(0, rows, moved);
    // What is not finite stays so, and its example has failed.
    rows = rows.masked_select(~(moved <= allowed) & torch::isfinite(finer.nats()));
  }
  if (rows.numel() == 0) return parts;
  const auto on_device = rows.to(x.device());
  parts.take(rows,
             by_runge_kutta(field, schedule, on_device, x.index_select(0, on_device), options));
  parts.moved.index_fill_(0, rows, std::nan(""));
  return parts;
}

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
  const Field field(denoiser, std::move(probes), options.whole_batch ? x.size(0) : 0);
  const auto state = x.to(torch::kFloat64);
  const auto rows = torch::arange(x.size(0), state.options().dtype(torch::kInt64));
  const Parts parts = !options.adams ? by_runge_kutta(field, schedule, rows, state, options)
                      : options.steps == 0
                          ? by_adams_doubling(field, schedule, rows, state, options)
                          : by_adams_steps(field, schedule, rows, state, options.steps);
  LikelihoodResult result;
  result.kind = ResultKind::estimate;
  result.nats = parts.nats();
  result.terms = {{"prior", parts.prior}, {"volume", parts.volume}};
  result.nfe = parts.evaluations;
  result.solver_error = parts.moved;
  return result;
}

LikelihoodResult ode_likelihood_exact(const Denoiser& denoiser, const Schedule& schedule,
                                      const torch::Tensor& x, const std::vector<int64_t>& slots,
                                      const SolverPrecision& precision, bool whole_batch) {
  const auto solve = [&](const SolverPrecision& p) {
    return ode_likelihood(denoiser, schedule, x, slots,
                          {.exact_trace = true,
                           .steps = p.steps,
                           .rtol = p.rtol,
                           .atol = p.atol,
                           .whole_batch = whole_batch});
  };
  LikelihoodResult result = solve(precision);
  const LikelihoodResult second = solve(precision.second());
  require_agreement("ode, -log p", result.nats, second.nats, precision, x);
  result.kind = ResultKind::exact;
  result.nfe = result.nfe + second.nfe;
  return result;
}

}  // namespace scorenet::diffusion
