#include "framework/diffusion/likelihood/diffusion_term.hpp"

#include <torch/utils.h>

#include <cmath>
#include <functional>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/learned_weights.hpp"
#include "framework/diffusion/likelihood/adaptive_integral.hpp"
#include "framework/diffusion/likelihood/exactness.hpp"
#include "framework/diffusion/likelihood/probability_flow.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/parametrisation.hpp"
#include "framework/diffusion/time_sampler.hpp"

namespace scorenet::diffusion {
namespace {

// Examples times nodes that go through the denoiser at once: 2^15 rows of a small mixture stay
// in the cache, and so do 2^17 values of rows of many dimensions.
constexpr int64_t kRows = 1 << 15;
constexpr int64_t kValues = 1 << 17;

int64_t rows_in_cache(int64_t dims) { return std::clamp(kValues / dims, int64_t{32}, kRows); }

// Width of the first panels in log-SNR. On 2 the Kronrod rule integrates a Gaussian's error, whose
// poles lie pi off the axis, to rounding; a mixture may change within a small part of a unit, and
// in one dimension a closer look is cheap. In many a look is costly, and on 4 the rule has ten
// digits.
double first_panel(int64_t dims) { return dims == 1 ? 1 : dims <= 64 ? 2 : 4; }

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

NoiseLevel select_level(const NoiseLevel& level, const torch::Tensor& rows) {
  return {level.alpha.index_select(0, rows), level.sigma.index_select(0, rows),
          level.log_snr.index_select(0, rows)};
}

NoiseLevel slice_level(const NoiseLevel& level, int64_t first, int64_t last) {
  return {level.alpha.slice(0, first, last), level.sigma.slice(0, first, last),
          level.log_snr.slice(0, first, last)};
}

// (n, ...) -> (n) on the CPU, float64.
torch::Tensor amax_per_example(const torch::Tensor& values) {
  return values.flatten(1).amax(1).to(torch::kCPU, torch::kFloat64);
}

// How far an affine eps_hat of this size may seem to bend, (n). What rounding of x_t alone does to
// it cannot be told from a bend.
torch::Tensor allowed_bend(const torch::Tensor& size, const NoiseLevel& level,
                           const torch::Tensor& x) {
  const bool exact_type = x.scalar_type() == torch::kFloat64;
  const auto rounding = (exact_type ? 1e-14 : 1e-6) * amax_per_example(x.abs()) / level.sigma;
  return (exact_type ? 1e-9 : 1e-4) * (1 + size) + rounding;
}

// bend, allowed (n): beside example i of x at level i.
void check_bend(const torch::Tensor& bend, const torch::Tensor& allowed, const NoiseLevel& level,
                const torch::Tensor& x) {
  // An example without a finite value has failed.
  const auto excess = (bend - allowed).nan_to_num(-1);
  const auto row = excess.argmax().item<int64_t>();
  if (!(excess[row].item<double>() > 0)) return;
  std::ostringstream what;
  what << "the cubature in " << dims_per_example(x)
       << " dimensions needs an affine denoiser (one Gaussian), but over the noise at log_snr "
       << level.log_snr[row].item<double>() << " this one deviates";
  refuse_exact(what.str(), bend[row].item<double>(), allowed[row].item<double>(), x, row,
               "more than two dimensions have no other rule");
}

// error (m): relative, of the examples rows (m) of x, with the finest rule that there is.
void check_noise_error(const torch::Tensor& error, const torch::Tensor& rows,
                       const torch::Tensor& log_snr, const torch::Tensor& x) {
  const double allowed = exact_error(x.scalar_type());
  if (error.numel() == 0) return;
  const auto worst = error.argmax().item<int64_t>();
  if (error[worst].item<double>() <= allowed) return;
  const auto row = rows[worst].item<int64_t>();
  std::ostringstream what;
  what << "the expectation over the noise at log_snr " << log_snr[row].item<double>()
       << " differs between the last two rules, relative,";
  refuse_exact(what.str(), error[worst].item<double>(), allowed, x, row,
               "the model is too sharp for them");
}

// A cheap refusal before the costly work: five levels, one chord from about x0 to about -x0.
void require_affine_at_a_glance(const Denoiser& denoiser, const Schedule& schedule,
                                const torch::Tensor& x0) {
  const auto slots = slot_range(0, x0.size(0));
  const LogSnrRange ends = log_snr_range(schedule);
  for (int64_t i = 1; i <= 5; ++i) {
    const double log_snr = ends.noisy + (ends.clean - ends.noisy) * static_cast<double>(i) / 6.0;
    const auto t = schedule.time_of(torch::full({x0.size(0)}, log_snr, torch::kFloat64));
    const NoiseLevel level = schedule.at(t);
    // The middle of the chord from a to b; for an affine function its value is the mean
    // of the ends'.
    const auto a = add_noise(x0, evaluation_noise(1, i, slots, x0), level);
    const auto b = add_noise(-x0, evaluation_noise(2, i, slots, x0), level);
    const auto middle = denoiser(0.5 * (a + b), level).eps;
    const auto mean = 0.5 * (denoiser(a, level).eps + denoiser(b, level).eps);
    check_bend(amax_per_example((middle - mean).abs()),
               allowed_bend(amax_per_example(mean.abs()), level, x0), level, x0);
  }
}

// An affine function's value in the middle of a chord is the mean of its values at the ends:
// looked at beside each example x (n, ...) with its own level, over the chords that noise_chords
// spans about it.
void require_affine_over_the_noise(const Denoiser& denoiser, const NoiseLevel& level,
                                   const torch::Tensor& x) {
  const NoiseChords chords = noise_chords(dims_per_example(x));
  const int64_t count = chords.a.size(0);
  const auto points = torch::cat({chords.a, chords.b, chords.middle}).to(x.options());
  const int64_t rows = points.size(0), at_once = std::max<int64_t>(1, kRows / rows);
  for (int64_t first = 0; first < x.size(0); first += at_once) {
    const auto part = x.slice(0, first, first + at_once);
    const NoiseLevel here = slice_level(level, first, first + part.size(0));
    const NoiseLevel there = repeat_level(here, rows);
    const auto repeated = part.repeat_interleave(rows, 0);
    const auto x_t = add_noise(repeated, points.repeat({part.size(0), 1}).view_as(repeated), there);
    const auto eps = denoiser(x_t, there).eps.to(torch::kFloat64).view({part.size(0), rows, -1});
    const auto bend =
        eps.slice(1, 2 * count) - 0.5 * (eps.slice(1, 0, count) + eps.slice(1, count, 2 * count));
    check_bend(amax_per_example(bend.abs()), allowed_bend(amax_per_example(eps.abs()), here, part),
               here, part);
  }
}

// By how much a rule and its second one differ, (n).
torch::Tensor disagreement(const torch::Tensor& both) {
  const auto first = both.select(1, 0);
  return (first - both.select(1, 1)).abs() / (1.0 + first.abs());
}

// What is left of a difference in the rule's own error. Where differences were seen to square from
// rule to rule the next one would be about the square: that is this rule's error.
torch::Tensor error_left(const torch::Tensor& difference, const torch::Tensor& before,
                         bool squares) {
  if (!squares) return difference;
  return torch::where(difference.le(before.pow(1.6)), difference.square(), difference);
}

// A function of noised examples, (rows) float64; of (rows) int64: which of the n examples each
// row belongs to.
using NoisedFunction = std::function<torch::Tensor(const torch::Tensor& of, const torch::Tensor& x,
                                                   const torch::Tensor& eps)>;

// How many examples go through the denoiser at once, at all of the rule's nodes.
int64_t rows_at_once(const NoiseRule& rule) {
  return std::max<int64_t>(1, kRows / rule.nodes.size(0));
}

// The expectation over eps by both of a rule's weights for the examples `rows` of x: (rows, 2).
torch::Tensor expected_by(const NoiseRule& rule, const NoisedFunction& f, const torch::Tensor& x,
                          const torch::Tensor& rows) {
  const int64_t nodes = rule.nodes.size(0);
  const auto weights = torch::stack({rule.weights, rule.second_weights}, 1);
  const int64_t at_once = rows_in_cache(dims_per_example(x));
  std::vector<torch::Tensor> parts;
  for (const auto& part : rows.split(rows_at_once(rule))) {
    const auto of = part.repeat_interleave(nodes);
    const auto node = torch::arange(nodes).repeat({part.size(0)});
    std::vector<torch::Tensor> values;
    for (int64_t first = 0; first < of.size(0); first += at_once) {
      const auto here = of.slice(0, first, first + at_once);
      const auto repeated = x.index_select(0, here.to(x.device()));
      const auto eps = rule.nodes.index_select(0, node.slice(0, first, first + at_once));
      values.push_back(f(here, repeated, eps.to(x.options()).view_as(repeated)));
    }
    parts.push_back(torch::matmul(torch::cat(values).view({part.size(0), nodes}), weights));
  }
  return torch::cat(parts);
}

// Each example by the first of the rules that agrees with its own second one. log_snr (n): for
// the error's sentence.
IntegratedTerm expected(const NoisedFunction& f, const torch::Tensor& log_snr,
                        const torch::Tensor& x, const std::vector<NoiseRule>& rules) {
  const double tolerance = x.scalar_type() == torch::kFloat64 ? 1e-7 : 1e-5;
  IntegratedTerm result = nothing_yet(x);
  auto before = torch::ones({x.size(0)}, torch::kFloat64);  // differences by the rule before
  auto open = torch::arange(x.size(0), torch::kInt64);
  for (const NoiseRule& rule : rules) {
    const bool last = &rule == &rules.back();
    std::vector<torch::Tensor> left;
    // The last rule is the costliest: a model that is too sharp for it is refused at the first part
    // that shows it.
    for (const auto& part : open.split(last ? rows_at_once(rule) : open.size(0))) {
      const auto both = expected_by(rule, f, x, part);
      // A better rule's value replaces that of the rule before.
      result.nats.index_copy_(0, part, both.select(1, 0));
      result.nfe.index_add_(0, part,
                            torch::full({part.size(0)}, rule.nodes.size(0), torch::kFloat64));
      const auto difference = disagreement(both);
      // An example without a finite value has failed; no rule mends it.
      const auto differs = difference.gt(tolerance) & torch::isfinite(both.select(1, 0));
      if (last)
        check_noise_error(error_left(difference, before.index_select(0, part), rule.squares)
                              .masked_select(differs),
                          part.masked_select(differs), log_snr, x);
      before.index_copy_(0, part, difference);
      left.push_back(part.masked_select(differs));
    }
    open = torch::cat(left);
    if (open.numel() == 0) break;
  }
  return result;
}

// Sizes that repeat x0 along its first dimension alone.
std::vector<int64_t> repeats_of_batch(const torch::Tensor& x0, int64_t times) {
  std::vector<int64_t> sizes(static_cast<size_t>(x0.dim()), 1);
  sizes[0] = times;
  return sizes;
}

void check_time_error(const AdaptiveIntegral& integral, const torch::Tensor& x0) {
  const double allowed = exact_error(x0.scalar_type());
  const auto error = integral.error / (1 + integral.value.abs());
  const auto row = error.nan_to_num(-1).argmax().item<int64_t>();
  if (!(error[row].item<double>() > allowed)) return;
  std::ostringstream what;
  what << "in the integral over log-SNR two quadratures differ, most near log_snr "
       << integral.worst_at(row) << ", relative,";
  refuse_exact(what.str(), error[row].item<double>(), allowed, x0, row,
               "the model is too sharp for them");
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
  // Log-SNR is uniform over its range, so the integral is the range times the mean.
  const double scale = 0.5 * (ends.clean - ends.noisy) / static_cast<double>(options.time_samples);
  return {scale * sum, torch::full_like(sum, static_cast<double>(options.time_samples))};
}

IntegratedTerm drawn_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0,
                                   const std::vector<int64_t>& slots, const DrawOptions& options) {
  torch::NoGradGuard no_grad;
  check_time_samples(options.time_samples);
  const auto grid = step_times(schedule, steps);
  const auto offsets = example_offsets(options.seed, slots);
  auto sum = torch::zeros({x0.size(0)}, torch::kFloat64);
  for (int64_t k = 0; k < options.time_samples; ++k) {
    const auto step = steps_from_positions(stratum(offsets, k, options.time_samples), steps);
    const auto eps = evaluation_noise(options.seed, k + 1, slots, x0);
    sum += step_nats(denoiser, schedule, reverse_step(grid, step), x0, eps);
  }
  // Steps are drawn uniformly, so the sum over T of them is T times the mean.
  const double scale = static_cast<double>(steps) / static_cast<double>(options.time_samples);
  return {scale * sum, torch::full_like(sum, static_cast<double>(options.time_samples))};
}

std::vector<NoiseRule> noise_rules_for(const Denoiser& denoiser, const Schedule& schedule,
                                       const torch::Tensor& x0) {
  torch::NoGradGuard no_grad;
  const int64_t dims = dims_per_example(x0);
  if (dims > 2) {
    require_affine_at_a_glance(denoiser, schedule, x0);
    return {paired_cubature(dims)};
  }
  // 0.45 integrates a Gaussian's denoiser to rounding and its half, 0.9, to 1e-9. The last ones
  // have 78,000 points in one dimension and 73,000 in two.
  std::vector<NoiseRule> rules;
  double spacing = 0.45;
  for (int halvings = 0; halvings <= (dims == 1 ? 11 : 3); ++halvings, spacing /= 2) {
    rules.push_back(noise_lattice(dims, spacing));
  }
  return rules;
}

IntegratedTerm expected_over_noise(const NoisedTerm& term, const Denoiser& denoiser,
                                   const Schedule& schedule, const torch::Tensor& t,
                                   const torch::Tensor& x0, const std::vector<NoiseRule>& rules) {
  torch::NoGradGuard no_grad;
  const NoiseLevel level = schedule.at(t);
  if (dims_per_example(x0) > 2) require_affine_over_the_noise(denoiser, level, x0);
  const auto of_rows = [&](const torch::Tensor& of, const torch::Tensor& x,
                           const torch::Tensor& eps) {
    return term(x, eps, select_level(level, of));
  };
  return expected(of_rows, level.log_snr, x0, rules);
}

IntegratedTerm expected_eps_error(const Denoiser& denoiser, const Schedule& schedule,
                                  const torch::Tensor& t, const torch::Tensor& x0,
                                  const std::vector<NoiseRule>& rules) {
  const NoisedTerm error = [&](const torch::Tensor& x, const torch::Tensor& eps,
                               const NoiseLevel& level) {
    return eps_error(denoiser, x, eps, level);
  };
  return expected_over_noise(error, denoiser, schedule, t, x0, rules);
}

IntegratedTerm exact_diffusion_term(const Denoiser& denoiser, const Schedule& schedule,
                                    const torch::Tensor& x0) {
  torch::NoGradGuard no_grad;
  const auto rules = noise_rules_for(denoiser, schedule, x0);
  const LogSnrRange ends = log_snr_range(schedule);
  IntegratedTerm sum = nothing_yet(x0);
  const ExampleIntegrand half_error = [&](const torch::Tensor& rows, const torch::Tensor& log_snr) {
    const auto t = schedule.time_of(log_snr).clamp(schedule.t_min(), schedule.t_max());
    require_levels(log_snr, schedule.log_snr(t));
    const auto x = x0.index_select(0, rows.to(x0.device()));
    const IntegratedTerm error = expected_eps_error(denoiser, schedule, t, x, rules);
    sum.nfe.index_add_(0, rows, error.nfe);
    return 0.5 * error.nats;
  };
  // As noise_rules_for()'s own: a network's rounding is not to be taken for roughness.
  const double tolerance = x0.scalar_type() == torch::kFloat64 ? 1e-8 : 1e-5;
  const AdaptiveIntegral integral = integrate_on_panels(
      half_error, ends.noisy, ends.clean, x0.size(0), first_panel(dims_per_example(x0)), tolerance);
  check_time_error(integral, x0);
  sum.nats = integral.value;
  return sum;
}

IntegratedTerm exact_stepwise_term(const Denoiser& denoiser, const Schedule& schedule,
                                   int64_t steps, const torch::Tensor& x0) {
  torch::NoGradGuard no_grad;
  const auto rules = noise_rules_for(denoiser, schedule, x0);
  const auto grid = step_times(schedule, steps);
  const auto log_snr = schedule.log_snr(grid);
  // In units of the weight on |eps - eps_hat|^2, so that the rules' tolerance means the same
  // for every T.
  const auto units = 0.5 * torch::expm1(log_snr.slice(0, 0, steps) - log_snr.slice(0, 1));
  const int64_t batch = x0.size(0), at_once = std::max<int64_t>(1, kRows / batch);
  IntegratedTerm sum = nothing_yet(x0);
  for (int64_t first = 1; first <= steps; first += at_once) {
    const auto some = torch::arange(first, std::min(first + at_once, steps + 1), torch::kInt64);
    // Every example with each of these steps.
    const auto step = some.repeat_interleave(batch);
    const auto x = x0.repeat(repeats_of_batch(x0, some.size(0)));
    const auto unit = units.index_select(0, step - 1);
    const auto t = grid.index_select(0, step);
    if (dims_per_example(x0) > 2) require_affine_over_the_noise(denoiser, schedule.at(t), x);
    const auto nats = [&](const torch::Tensor& of, const torch::Tensor& noised,
                          const torch::Tensor& eps) {
      const auto here = reverse_step(grid, step.index_select(0, of));
      return step_nats(denoiser, schedule, here, noised, eps) / unit.index_select(0, of);
    };
    const IntegratedTerm term = expected(nats, log_snr.index_select(0, step), x, rules);
    sum.nats += (unit * term.nats).view({-1, batch}).sum(0);
    sum.nfe += term.nfe.view({-1, batch}).sum(0);
  }
  return sum;
}

}  // namespace scorenet::diffusion
