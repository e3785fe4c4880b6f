#include "framework/diffusion/likelihood/diffusion_term.hpp"

#include <torch/utils.h>

#include <cmath>
#include <functional>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/learned_weights.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/parametrisation.hpp"
#include "framework/diffusion/time_sampler.hpp"

namespace scorenet::diffusion {
namespace {

// Examples times nodes that go through the denoiser at once: 2^15 rows of a small mixture stay in the cache.
constexpr int64_t kRows = 1 << 15;

void check_time_samples(int64_t time_samples) {
  if (time_samples >= 1) return;
  throw ConfigError("time samples = " + std::to_string(time_samples) +
                    ": must be at least 1. Set it with --time-samples.");
}

// Draw k of K: one position in each of K strata of [0, 1), shifted by the example's own offset.
torch::Tensor stratum(const torch::Tensor& offsets, int64_t k, int64_t count) {
  return (offsets + static_cast<double>(k)) / static_cast<double>(count);
}

torch::Tensor example_offsets(uint64_t seed, const std::vector<int64_t>& slots) {
  return uniform_for_slots({seed, RandomStream::evaluation_time, 0}, slots, {}, torch::kFloat64);
}

void check_slots(const torch::Tensor& x0, const std::vector<int64_t>& slots) {
  if (x0.dim() >= 1 && x0.size(0) == static_cast<int64_t>(slots.size())) return;
  throw ShapeError("evaluation: x0 of shape " + shape_string(x0.sizes()) + " with " +
                   std::to_string(slots.size()) + " slots; there must be one slot an example.");
}

IntegratedTerm nothing_yet(const torch::Tensor& x0) {
  return {torch::zeros({x0.size(0)}, torch::kFloat64), torch::zeros({x0.size(0)}, torch::kFloat64)};
}

// An affine function's value in the middle of a chord is the mean of its values at the ends.
void require_affine(const Denoiser& denoiser, const Schedule& schedule, const torch::Tensor& x0) {
  const double tolerance = x0.scalar_type() == torch::kFloat64 ? 1e-9 : 1e-4;
  const auto slots = slot_range(0, x0.size(0));
  const LogSnrRange ends = log_snr_range(schedule);
  for (int64_t i = 1; i <= 5; ++i) {
    const double log_snr = ends.noisy + (ends.clean - ends.noisy) * static_cast<double>(i) / 6.0;
    const auto t = schedule.time_of(torch::full({x0.size(0)}, log_snr, torch::kFloat64));
    const NoiseLevel level = schedule.at(t);
    const auto a = add_noise(x0, evaluation_noise(1, i, slots, x0), level);
    const auto b = add_noise(-x0, evaluation_noise(2, i, slots, x0), level);
    const auto middle = denoiser(0.5 * (a + b), level).eps;
    const auto mean = 0.5 * (denoiser(a, level).eps + denoiser(b, level).eps);
    const double bend = ((middle - mean).abs() / (1.0 + mean.abs())).max().item<double>();
    if (bend <= tolerance) continue;
    std::ostringstream sentence;
    sentence << "exact evaluation in " << dims_per_example(x0)
             << " dimensions needs an affine denoiser (one Gaussian), but this one bends by "
             << bend << " at log_snr " << log_snr << ". Leave out --exact.";
    throw ConfigError(sentence.str());
  }
}

// By how much a rule and its coarse half differ, (B). The error squares when the spacing halves.
torch::Tensor disagreement(const torch::Tensor& fine_and_coarse) {
  const auto fine = fine_and_coarse.select(1, 0);
  return (fine - fine_and_coarse.select(1, 1)).abs() / (1.0 + fine);
}

// 1e-3 at twice the spacing leaves about 1e-6.
void check_converged(const torch::Tensor& difference, double t) {
  const double worst = difference.max().item<double>();
  if (worst <= 1e-3) return;
  std::ostringstream sentence;
  sentence << "exact evaluation: at t = " << t
           << " the finest noise lattice and its half differ by " << worst
           << " (relative); the model is too sharp for it. Leave out --exact.";
  throw ConfigError(sentence.str());
}

// A function of one noised batch, (B) float64.
using NoisedFunction =
    std::function<torch::Tensor(const torch::Tensor& x0, const torch::Tensor& eps)>;

// Its expectation over eps by one rule and by its coarse half: (B, 2).
torch::Tensor expected_by(const NoiseRule& rule, const NoisedFunction& f, const torch::Tensor& x0) {
  const int64_t nodes = rule.nodes.size(0);
  const int64_t at_once = std::max<int64_t>(1, kRows / nodes);
  const auto weights = torch::stack({rule.weights, rule.coarse_weights}, 1);
  std::vector<torch::Tensor> parts;
  for (const auto& x : x0.split(at_once)) {
    const auto repeated = x.repeat_interleave(nodes, 0);
    const auto eps = rule.nodes.to(x.options()).repeat({x.size(0), 1}).view_as(repeated);
    parts.push_back(torch::matmul(f(repeated, eps).view({x.size(0), nodes}), weights));
  }
  return torch::cat(parts);
}

// Each example by the first of the rules that agrees with its own coarse half. t: for the error's sentence.
IntegratedTerm expected(const NoisedFunction& f, double t, const torch::Tensor& x0,
                        const std::vector<NoiseRule>& rules) {
  const double tolerance = x0.scalar_type() == torch::kFloat64 ? 1e-7 : 1e-5;
  auto open = torch::arange(x0.size(0), torch::kInt64);
  auto value = torch::zeros({x0.size(0)}, torch::kFloat64);
  auto evaluations = torch::zeros({x0.size(0)}, torch::kFloat64);
  torch::Tensor difference;
  for (const NoiseRule& rule : rules) {
    const auto both = expected_by(rule, f, x0.index_select(0, open.to(x0.device())));
    value.index_copy_(0, open, both.select(1, 0));
    evaluations.index_add_(
        0, open,
        torch::full({open.size(0)}, static_cast<double>(rule.nodes.size(0)), torch::kFloat64));
    difference = disagreement(both);
    // Written so that a NaN stays open and is reported.
    const auto left = difference.le(tolerance).logical_not().nonzero().squeeze(1);
    if (left.size(0) == 0) return {value, evaluations};
    open = open.index_select(0, left);
  }
  check_converged(difference, t);
  return {value, evaluations};
}

// The T-step grid as pairs (t_{i-1}, t_i).
ReverseStep steps_at(const torch::Tensor& grid, const torch::Tensor& step) {
  return {grid.index_select(0, step - 1), grid.index_select(0, step)};
}

}  // namespace

torch::Tensor eps_error(const Denoiser& denoiser, const torch::Tensor& x0, const torch::Tensor& eps,
                        const NoiseLevel& level) {
  const auto eps_hat = denoiser(add_noise(x0, eps, level), level).eps;
  return sum_per_example((eps - eps_hat).to(torch::kFloat64).square()).to(torch::kCPU);
}

torch::Tensor step_nats(const Denoiser& denoiser, const Schedule& schedule, const ReverseStep& step,
                        const torch::Tensor& x0, const torch::Tensor& eps) {
  const NoiseLevel level = schedule.at(step.t);
  const Denoised estimate = denoiser(add_noise(x0, eps, level), level);
  if (estimate.raw_variance.defined()) {
    return learned_variance_step_nats(schedule, step, eps, estimate.eps, estimate.raw_variance)
        .to(torch::kCPU);
  }
  const auto error = sum_per_example((eps - estimate.eps).to(torch::kFloat64).square());
  return 0.5 * torch::expm1(schedule.log_snr(step.s) - level.log_snr) * error.to(torch::kCPU);
}

torch::Tensor evaluation_noise(uint64_t seed, int64_t index, const std::vector<int64_t>& slots,
                               const torch::Tensor& x0) {
  check_slots(x0, slots);
  const RandomKey key{seed, RandomStream::evaluation_noise, static_cast<uint64_t>(index)};
  return normal_for_slots(key, slots, x0.sizes().slice(1), x0.scalar_type(), x0.device());
}

IntegratedTerm drawn_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0, const std::vector<int64_t>& slots,
                                    const DrawOptions& options) {
  torch::NoGradGuard no_grad;
  check_time_samples(options.time_samples);
  const LogSnrRange ends = log_snr_range(schedule);
  const auto offsets = example_offsets(options.seed, slots);
  auto sum = torch::zeros({x0.size(0)}, torch::kFloat64);
  for (int64_t k = 0; k < options.time_samples; ++k) {
    const auto positions = stratum(offsets, k, options.time_samples);
    const NoiseLevel level = schedule.at(log_snr_times(schedule, positions).t);
    sum += eps_error(denoiser, x0, evaluation_noise(options.seed, k + 1, slots, x0), level);
  }
  const double scale = 0.5 * (ends.clean - ends.noisy) / static_cast<double>(options.time_samples);
  return {scale * sum, torch::full_like(sum, static_cast<double>(options.time_samples))};
}

IntegratedTerm drawn_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0,
                                   const std::vector<int64_t>& slots, const DrawOptions& options) {
  torch::NoGradGuard no_grad;
  check_time_samples(options.time_samples);
  const auto grid = time_grid(schedule, steps);
  const auto offsets = example_offsets(options.seed, slots);
  auto sum = torch::zeros({x0.size(0)}, torch::kFloat64);
  for (int64_t k = 0; k < options.time_samples; ++k) {
    const auto step = steps_from_positions(stratum(offsets, k, options.time_samples), steps);
    const auto eps = evaluation_noise(options.seed, k + 1, slots, x0);
    sum += step_nats(denoiser, schedule, steps_at(grid, step), x0, eps);
  }
  const double scale = static_cast<double>(steps) / static_cast<double>(options.time_samples);
  return {scale * sum, torch::full_like(sum, static_cast<double>(options.time_samples))};
}

NoiseRule noise_rule_for(const Denoiser& denoiser, const Schedule& schedule,
                         const torch::Tensor& x0) {
  torch::NoGradGuard no_grad;
  const int64_t dims = dims_per_example(x0);
  // 0.02 resolves responsibilities that change over 1/50 of the noise, 0.2 over 1/7.
  if (dims <= 2) return noise_lattice(dims, dims == 1 ? 0.02 : 0.2);
  require_affine(denoiser, schedule, x0);
  return symmetric_cubature(dims);
}

std::vector<NoiseRule> noise_rules_for(const Denoiser& denoiser, const Schedule& schedule,
                                       const torch::Tensor& x0) {
  const int64_t dims = dims_per_example(x0);
  if (dims > 2) return {noise_rule_for(denoiser, schedule, x0)};
  // 0.45 integrates a Gaussian's denoiser to rounding and its half, 0.9, to 1e-9. The last ones have 4,900 points in
  // one dimension and 73,000 in two.
  std::vector<NoiseRule> rules;
  double spacing = 0.45;
  for (int halvings = 0; halvings <= (dims == 1 ? 7 : 3); ++halvings, spacing /= 2) {
    rules.push_back(noise_lattice(dims, spacing));
  }
  return rules;
}

IntegratedTerm expected_eps_error(const Denoiser& denoiser, const Schedule& schedule, double t,
                                  const torch::Tensor& x0, const std::vector<NoiseRule>& rules) {
  torch::NoGradGuard no_grad;
  const auto error = [&](const torch::Tensor& x, const torch::Tensor& eps) {
    return eps_error(denoiser, x, eps, schedule.at(t, x.size(0)));
  };
  return expected(error, t, x0, rules);
}

IntegratedTerm exact_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0) {
  torch::NoGradGuard no_grad;
  const auto rules = noise_rules_for(denoiser, schedule, x0);
  const LogSnrRange ends = log_snr_range(schedule);
  const QuadratureRule panels = panel_rule(ends.noisy, ends.clean);
  const auto times = schedule.time_of(panels.nodes).clamp(schedule.t_min(), schedule.t_max());
  IntegratedTerm sum = nothing_yet(x0);
  for (int64_t i = 0; i < times.size(0); ++i) {
    const auto error = expected_eps_error(denoiser, schedule, times[i].item<double>(), x0, rules);
    sum.nats += 0.5 * panels.weights[i] * error.nats;
    sum.nfe += error.nfe;
  }
  return sum;
}

IntegratedTerm exact_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0) {
  torch::NoGradGuard no_grad;
  const auto rules = noise_rules_for(denoiser, schedule, x0);
  const auto grid = time_grid(schedule, steps);
  const auto log_snr = schedule.log_snr(grid);
  IntegratedTerm sum = nothing_yet(x0);
  for (int64_t i = 1; i <= steps; ++i) {
    // In units of the weight on |eps - eps_hat|^2, so that the rules' tolerance means the same for every T.
    const double unit = 0.5 * std::expm1((log_snr[i - 1] - log_snr[i]).item<double>());
    const auto nats = [&](const torch::Tensor& x, const torch::Tensor& eps) {
      const auto step = torch::full({x.size(0)}, i, torch::kInt64);
      return step_nats(denoiser, schedule, steps_at(grid, step), x, eps) / unit;
    };
    const IntegratedTerm term = expected(nats, grid[i].item<double>(), x0, rules);
    sum.nats += unit * term.nats;
    sum.nfe += term.nfe;
  }
  return sum;
}

}  // namespace scorenet::diffusion
