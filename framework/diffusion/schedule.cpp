#include "framework/diffusion/schedule.hpp"

#include <torch/utils.h>

#include <sstream>

#include "framework/core/error.hpp"

namespace scorenet::diffusion {

Schedule::Schedule(double t_min, double t_max) : t_min_(t_min), t_max_(t_max) {
  if (t_min < t_max) return;
  std::ostringstream sentence;
  sentence << "diffusion.t_min = " << t_min << ", diffusion.t_max = " << t_max
           << ": t_min must be less than t_max. Leave both out for the schedule's own range.";
  throw ConfigError(sentence.str());
}

torch::Tensor Schedule::time_of(const torch::Tensor& log_snr_wanted) const {
  torch::NoGradGuard no_grad;
  const auto wanted = log_snr_wanted.to(torch::kFloat64);
  auto low = torch::full_like(wanted, t_min_);
  auto high = torch::full_like(wanted, t_max_);
  // 64 halvings reach the resolution of a double anywhere in the interval.
  for (int halving = 0; halving < 64; ++halving) {
    const auto middle = 0.5 * (low + high);
    const auto too_clean = log_snr(middle) > wanted;
    low = torch::where(too_clean, middle, low);
    high = torch::where(too_clean, high, middle);
  }
  return 0.5 * (low + high);
}

NoiseLevel Schedule::at(const torch::Tensor& t) const {
  const auto time = t.to(torch::kFloat64);
  const auto half_log_snr = 0.5 * log_snr(time);
  const auto log_a = log_alpha(time);
  return {log_a.exp(), (log_a - half_log_snr).exp(), 2.0 * half_log_snr};
}

// One evaluation, then copies: a learned schedule is a network.
NoiseLevel Schedule::at(double t, int64_t batch) const {
  const NoiseLevel one = at(torch::full({1}, t, torch::kFloat64));
  return {one.alpha.repeat({batch}), one.sigma.repeat({batch}), one.log_snr.repeat({batch})};
}

torch::Tensor Schedule::g_squared(const torch::Tensor& t) const {
  const auto time = t.to(torch::kFloat64);
  return -at(time).sigma.square() * d_log_snr(time);
}

torch::Tensor end_times(const Schedule& schedule, torch::Device device) {
  const auto options = torch::dtype(torch::kFloat64).device(device);
  return torch::cat(
      {torch::full({1}, schedule.t_min(), options), torch::full({1}, schedule.t_max(), options)});
}

LogSnrRange log_snr_range(const Schedule& schedule) {
  const torch::NoGradGuard no_grad;
  const auto ends = schedule.log_snr(end_times(schedule, torch::kCPU));
  return {ends[0].item<double>(), ends[1].item<double>()};
}

}  // namespace scorenet::diffusion
