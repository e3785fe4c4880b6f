#include "framework/diffusion/sampler/sampler.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "framework/core/error.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/names.hpp"
#include "framework/diffusion/sampler/methods.hpp"

namespace scorenet::diffusion {
namespace {

using Method = torch::Tensor (*)(SamplerRun&, const Grid&, torch::Tensor);

struct NamedMethod {
  const char* name;
  Method method;
};

// The next sampler is one line here. "ode" is not a fixed grid's method and stands
// apart in sample().
constexpr NamedMethod kMethods[] = {
    {"ancestral", sample_ancestral},
    {"ddim", sample_ddim},
    {"euler-maruyama", sample_euler_maruyama},
    {"heun", sample_heun},
    {"dpmpp-2m", sample_dpmpp_2m},
    {"dpmpp-2m-sde", sample_dpmpp_2m_sde},
    {"exponential", sample_exponential},
    {"pc", sample_predictor_corrector},
};
constexpr const char* kAdaptive = "ode";

Method find_method(const std::string& name) {
  for (const auto& entry : kMethods) {
    if (name == entry.name) return entry.method;
  }
  std::string known;
  for (const auto& each : sampler_names()) known += (known.empty() ? "" : ", ") + each;
  throw ConfigError("sampler \"" + name + "\": unknown. Use one of " + known + ".");
}

void check_range(const char* name, double value, double low, double high) {
  if (value >= low && value <= high) return;
  const std::string range =
      std::isinf(high) ? "must be at least " + std::to_string(low)
                       : "must be from " + std::to_string(low) + " to " + std::to_string(high);
  throw ConfigError(std::string("sampler ") + name + " = " + std::to_string(value) + ": " + range +
                    ".");
}

void check_options(const SamplerOptions& options) {
  check_range("rho", options.rho, 1e-3, 1e3);
  if (options.rho != kEdmRho && options.spacing != "edm") {
    throw ConfigError("sampler rho = " + std::to_string(options.rho) +
                      " with spacing = " + options.spacing +
                      ": only spacing edm has it. Use spacing edm, or leave rho "
                      "out.");
  }
  check_range("eta", options.eta, 0, 1);
  check_range("hbar", options.hbar, 0, INFINITY);
  check_range("churn", options.churn, 0, INFINITY);
  check_range("corrector_steps", static_cast<double>(options.corrector_steps), 0, INFINITY);
  check_range("corrector_snr", options.corrector_snr, 0, INFINITY);
  if (options.hbar_shape && options.name != "euler-maruyama" && options.name != "dpmpp-2m-sde") {
    throw ConfigError(
        "sampler " + options.name +
        ": has no noise knob for an hbar schedule. Use euler-maruyama or dpmpp-2m-sde, "
        "or leave the schedule out.");
  }
  const auto finals = final_names();
  if (std::find(finals.begin(), finals.end(), options.final) == finals.end()) {
    throw ConfigError("sampler final = \"" + options.final +
                      "\": unknown. Use state (x at t_min) or denoised (the x0 estimated there).");
  }
}

// A method that asks once a step asks about the state before each step.
void add_path(const SamplerOptions& options, std::vector<torch::Tensor> states, const Grid& grid,
              const torch::Tensor& x, SampleResult& result) {
  if (options.name == kAdaptive || states.size() + 1 != grid.size()) {
    throw ConfigError("sampler " + options.name +
                      ": does not evaluate the network once a step, so it has no path to keep. Use "
                      "euler-maruyama (--hbar 0 for the ODE) or ddim.");
  }
  states.push_back(x);
  result.path = torch::stack(states, 1);
  std::vector<double> times;
  for (const GridPoint& point : grid) times.push_back(point.t);
  result.path_t = torch::tensor(times, torch::kFloat64);
}

NoiseLevel level_for_batch(const GridPoint& point, const torch::Tensor& x) {
  const auto filled = [&](double value) { return at::full({x.size(0)}, value, x.options()); };
  return {filled(point.alpha), filled(point.sigma), filled(point.log_snr)};
}

}  // namespace

NoiseSource make_slot_noise(const std::vector<int64_t>& seeds,
                            const std::vector<int64_t>& example_shape, uint64_t run_seed,
                            torch::Device device) {
  return [=](int64_t draw) {
    const RandomKey key{run_seed, RandomStream::sampler_noise, static_cast<uint64_t>(draw)};
    return normal_for_slots(key, seeds, example_shape, torch::kFloat64, device);
  };
}

torch::Tensor draw_start(const Schedule& schedule, const std::vector<int64_t>& seeds,
                         const std::vector<int64_t>& example_shape, uint64_t run_seed,
                         torch::Device device) {
  const RandomKey key{run_seed, RandomStream::sampler_start, 0};
  return normal_for_slots(key, seeds, example_shape, torch::kFloat64, device) *
         std::sqrt(schedule.prior_variance());
}

Denoised CountedDenoiser::operator()(const torch::Tensor& x, const GridPoint& point) {
  ++evaluations_;
  if (keep_states_) states_.push_back(x);
  return at(x, level_for_batch(point, x));
}

Denoised CountedDenoiser::at(const torch::Tensor& x, const NoiseLevel& level) const {
  const Denoised estimate = denoiser_(x, level);
  Denoised result{estimate.x0.to(torch::kFloat64), estimate.eps.to(torch::kFloat64)};
  if (estimate.raw_variance.defined())
    result.raw_variance = estimate.raw_variance.to(torch::kFloat64);
  return result;
}

SampleResult sample(const Denoiser& denoiser, const Schedule& schedule,
                    const SamplerOptions& options, const torch::Tensor& x_start,
                    const NoiseSource& noise) {
  check_options(options);
  const c10::NoGradGuard no_grad;
  CountedDenoiser counted(denoiser, options.keep_path);
  // The state lives where it started, wherever the noise comes from.
  const NoiseSource noise_here = [&](int64_t draw) {
    return noise(draw).to(x_start.device(), torch::kFloat64);
  };
  SamplerRun run{counted, schedule, options, noise_here};
  torch::Tensor x = x_start.to(torch::kFloat64);

  double adaptive_nfe = 0;
  Grid grid;
  if (options.name == kAdaptive) {
    const SampleResult solved = sample_ode(run, x);
    x = solved.x;
    adaptive_nfe = solved.nfe;
    grid = time_grid(schedule, 1, "uniform");
  } else {
    const Method method = find_method(options.name);
    grid = time_grid(schedule, options.steps, options.spacing, options.rho);
    x = method(run, grid, x);
  }
  SampleResult result{x, 0};
  if (options.keep_path) add_path(options, counted.states(), grid, x, result);
  if (options.final == "denoised") result.x = counted(x, grid.back()).x0;
  result.nfe = adaptive_nfe + static_cast<double>(counted.evaluations());
  return result;
}

std::vector<std::string> final_names() { return {"state", "denoised"}; }

std::vector<std::string> sampler_names() {
  std::vector<std::string> names;
  for (const auto& entry : kMethods) names.emplace_back(entry.name);
  names.emplace_back(kAdaptive);
  return names;
}

}  // namespace scorenet::diffusion
