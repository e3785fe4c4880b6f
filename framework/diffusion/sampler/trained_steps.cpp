#include "framework/diffusion/sampler/trained_steps.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>

#include "framework/core/error.hpp"
#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {
namespace {

using Numbers = std::vector<int64_t>;

// std::nearbyint rounds halves to even, as numpy's round does.
int64_t rounded(double value) { return static_cast<int64_t>(std::nearbyint(value)); }

Numbers leading(const TrainedSteps& trained, int64_t steps) {
  Numbers numbers;
  for (int64_t i = steps; i-- > 0;)
    numbers.push_back(i * (trained.law.steps / steps) + trained.offset);
  return numbers;
}

Numbers trailing(const TrainedSteps& trained, int64_t steps) {
  const auto n = static_cast<double>(trained.law.steps);
  const double ratio = n / static_cast<double>(steps);
  // As numpy's arange(n, 0, -ratio): its length follows the rounded quotient.
  const auto count = static_cast<int64_t>(std::ceil(n / ratio));
  Numbers numbers;
  for (int64_t i = 0; i < count; ++i)
    numbers.push_back(rounded(n + static_cast<double>(i) * ((n - ratio) - n)) - 1);
  return numbers;
}

Numbers linspace(const TrainedSteps& trained, int64_t steps) {
  if (steps == 1) return {0};
  const double stride = static_cast<double>(trained.law.steps - 1) / static_cast<double>(steps - 1);
  Numbers numbers;
  for (int64_t i = steps; i-- > 0;) numbers.push_back(rounded(static_cast<double>(i) * stride));
  return numbers;
}

struct Entry {
  const char* name;
  Numbers (*numbers)(const TrainedSteps&, int64_t);
};
constexpr Entry kSpacings[] = {
    {"leading", leading}, {"trailing", trailing}, {"linspace", linspace}};

Numbers numbers_of(const TrainedSteps& trained, int64_t steps) {
  std::string known;
  for (const Entry& entry : kSpacings) {
    if (trained.spacing == entry.name) return entry.numbers(trained, steps);
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw ConfigError("trained steps: spacing \"" + trained.spacing + "\" is not known. Known are " +
                    known + ".");
}

// alpha^2 = sigmoid(log_snr), by which neither alpha nor sigma loses digits.
GridPoint point(int64_t number, double log_snr) {
  return {static_cast<double>(number),
          1 / std::sqrt(1 + std::exp(-log_snr)),
          1 / std::sqrt(1 + std::exp(log_snr)),
          log_snr,
          0,
          0};
}

// DDIMScheduler keeps its products of 1 - beta in float32. At step 0 that moves 1 - A by 6e-4 of
// itself, and samples by up to 5e-5 (measured): its samples come from its own numbers alone.
std::vector<double> levels_of_scheduler(const DiscreteSteps& law) {
  const auto betas = at::tensor(betas_of_steps(law), at::kDouble).to(at::kFloat);
  const auto products = at::cumprod(1 - betas, 0).to(at::kDouble);
  const auto levels = (products.log() - at::log1p(-products)).contiguous();
  return {levels.const_data_ptr<double>(), levels.const_data_ptr<double>() + levels.numel()};
}

void check(const TrainedSteps& trained, int64_t steps) {
  if (steps >= 1 && steps <= trained.law.steps) return;
  throw ConfigError("sampler steps = " + std::to_string(steps) +
                    " with spacing = trained-steps: must be from 1 to the " +
                    std::to_string(trained.law.steps) + " steps that the network was trained on.");
}

}  // namespace

std::vector<TrainedStep> trained_steps(const TrainedSteps& trained, int64_t steps) {
  check(trained, steps);
  const std::vector<double> levels = levels_of_scheduler(trained.law);
  const int64_t back = trained.law.steps / steps;
  const double end = trained.ends_clean ? std::numeric_limits<double>::infinity() : levels[0];
  std::vector<TrainedStep> result;
  for (const int64_t number : numbers_of(trained, steps)) {
    if (number < 0 || number >= trained.law.steps) {
      throw ConfigError("trained steps: spacing " + trained.spacing + ", offset " +
                        std::to_string(trained.offset) + " and " + std::to_string(steps) +
                        " steps lead to step " + std::to_string(number) +
                        ", the network knows 0 to " + std::to_string(trained.law.steps - 1) +
                        ". Use another number of steps.");
    }
    const int64_t to = number - back;
    result.push_back({point(number, levels[static_cast<size_t>(number)]),
                      point(to, to >= 0 ? levels[static_cast<size_t>(to)] : end)});
  }
  return result;
}

namespace {

// x0 within the scheduler's range, eps as the network says it.
Denoiser clipped(const Denoiser& denoiser, double bound) {
  return [&denoiser, bound](const torch::Tensor& x, const NoiseLevel& level) {
    Denoised estimate = denoiser(x, level);
    if (bound > 0) estimate.x0 = estimate.x0.clamp(-bound, bound);
    return estimate;
  };
}

void check(const SamplerOptions& options) {
  if (!(options.eta >= 0 && options.eta <= 1))
    throw ConfigError("sampler eta = " + std::to_string(options.eta) + ": must be from 0 to 1.");
  if (options.final != "state" && options.final != "denoised")
    throw ConfigError("sampler final = \"" + options.final + "\": unknown. Use state or denoised.");
  if (options.name == "ddim") return;
  throw ConfigError("sampler " + options.name +
                    " with spacing = trained-steps: these are the steps of DDIM. Use ddim (eta = 1 "
                    "for the noise of DDPM), or another spacing.");
}

// z_s = b xh + sqrt(1 - b^2 - w^2) eh + w n, b and sqrt(1 - b^2) the level's alpha and sigma,
// w = eta sqrt(variance).
torch::Tensor ddim_step(const TrainedStep& step, const Denoised& hat, double deviation) {
  const double direction = std::sqrt(step.to.sigma * step.to.sigma - deviation * deviation);
  return step.to.alpha * hat.x0 + direction * hat.eps;
}

// Equation 16 without eta, sqrt((1 - B) / (1 - A)) sqrt(1 - A / B), free of differences: with
// SNR = A / (1 - A) it is sqrt(1 - B) sqrt(1 - SNR_t / SNR_s).
double full_deviation(const TrainedStep& step) {
  return step.to.sigma * std::sqrt(-std::expm1(step.from.log_snr - step.to.log_snr));
}

}  // namespace

SampleResult sample_trained_steps(const Denoiser& denoiser, const TrainedSteps& trained,
                                  const SamplerOptions& options, const torch::Tensor& x_start,
                                  const NoiseSource& noise) {
  check(options);
  const c10::NoGradGuard no_grad;
  const Denoiser bounded = clipped(denoiser, trained.clip);
  CountedDenoiser counted(bounded, options.keep_path);
  const auto steps = trained_steps(trained, options.steps);
  torch::Tensor x = x_start.to(torch::kFloat64);
  std::vector<double> numbers;
  for (size_t i = 0; i < steps.size(); ++i) {
    const double deviation = options.eta * full_deviation(steps[i]);
    x = ddim_step(steps[i], counted(x, steps[i].from), deviation);
    if (options.eta > 0)
      x = x + deviation * noise(static_cast<int64_t>(i)).to(x.device(), torch::kFloat64);
    numbers.push_back(steps[i].from.t);
  }
  SampleResult result{x, 0};
  if (options.keep_path) {
    auto states = counted.states();
    states.push_back(x);
    numbers.push_back(steps.back().to.t);
    result.path = torch::stack(states, 1);
    result.path_t = torch::tensor(numbers, torch::kFloat64);
  }
  const GridPoint& end = steps.back().to;
  if (options.final == "denoised" && end.sigma > 0) result.x = counted(x, end).x0;
  result.nfe = static_cast<double>(counted.evaluations());
  return result;
}

std::vector<std::string> trained_spacings() {
  std::vector<std::string> names;
  for (const Entry& entry : kSpacings) names.emplace_back(entry.name);
  return names;
}

}  // namespace scorenet::diffusion
