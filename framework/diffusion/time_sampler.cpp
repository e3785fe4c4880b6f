#include "framework/diffusion/time_sampler.hpp"

#include <cmath>
#include <numbers>
#include <sstream>

#include "framework/core/error.hpp"
#include "framework/diffusion/names.hpp"

namespace scorenet::diffusion {
namespace {

RandomKey time_key(const RandomKey& key) {
  return {key.seed, RandomStream::training_time, key.step};
}

std::string number(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

// Rounding must not push a drawn time out of the schedule's range.
torch::Tensor clamp_to(const Schedule& schedule, const torch::Tensor& t) {
  return t.clamp(schedule.t_min(), schedule.t_max());
}

TimeSample times_uniform(const TimeRule&, const Schedule& s, const torch::Tensor& u) {
  return uniform_times(s, u);
}

TimeSample times_log_snr(const TimeRule&, const Schedule& s, const torch::Tensor& u) {
  return log_snr_times(s, u);
}

TimeSample times_log_normal(const TimeRule& rule, const Schedule& s, const torch::Tensor& u) {
  return log_normal_times(s, u, rule.mean, rule.deviation);
}

TimeSample times_v_importance(const TimeRule&, const Schedule& s, const torch::Tensor& u) {
  return v_importance_times(s, u);
}

struct Rule {
  const char* name;
  bool stratified;
  TimeSample (*map)(const TimeRule&, const Schedule&, const torch::Tensor&);
};

constexpr Rule kRules[] = {
    {"uniform", false, times_uniform},          {"stratified", true, times_uniform},
    {"log_snr", true, times_log_snr},           {"log_normal", true, times_log_normal},
    {"v_importance", true, times_v_importance},
};

}  // namespace

torch::Tensor independent_positions(const RandomKey& key, const std::vector<int64_t>& slots) {
  return uniform_for_slots(time_key(key), slots, {}, torch::kFloat64);
}

torch::Tensor stratified_positions(const RandomKey& key, const std::vector<int64_t>& slots,
                                   int64_t global_batch) {
  if (global_batch < 1) {
    throw ConfigError("stratified times: global batch " + std::to_string(global_batch) +
                      ", expected at least 1.");
  }
  const double offset = uniform_for_step(time_key(key));
  auto positions = torch::empty({static_cast<int64_t>(slots.size())}, torch::kFloat64);
  double* out = positions.data_ptr<double>();
  for (const int64_t slot : slots) {
    const double u =
        offset + static_cast<double>(slot % global_batch) / static_cast<double>(global_batch);
    *out++ = u - std::floor(u);
  }
  return positions;
}

TimeSample uniform_times(const Schedule& schedule, const torch::Tensor& positions) {
  const double length = schedule.t_max() - schedule.t_min();
  return {clamp_to(schedule, schedule.t_min() + length * positions),
          torch::full_like(positions, length)};
}

TimeSample log_snr_times(const Schedule& schedule, const torch::Tensor& positions) {
  const LogSnrRange range = log_snr_range(schedule);
  const double length = range.clean - range.noisy;
  const auto t = clamp_to(schedule, schedule.time_of(range.clean - length * positions));
  return {t, -length / schedule.d_log_snr(t)};
}

TimeSample log_normal_times(const Schedule& schedule, const torch::Tensor& positions, double mean,
                            double deviation) {
  // log(sigma / alpha) = -log_snr / 2 rises with t.
  const LogSnrRange range = log_snr_range(schedule);
  const double z_low = (-0.5 * range.clean - mean) / deviation;
  const double z_high = (-0.5 * range.noisy - mean) / deviation;
  const double low = normal_cdf(z_low);
  const double high = normal_cdf(z_high);
  if (!(high - low > 0)) {
    throw ConfigError("diffusion.P_mean = " + number(mean) +
                      " with diffusion.P_std = " + number(deviation) +
                      ": no time of the schedule has such noise, since log(sigma / alpha) goes "
                      "from " +
                      number(-0.5 * range.clean) + " to " + number(-0.5 * range.noisy) +
                      ". Choose a mean within.");
  }
  // The clamp guards the quantile where `high` rounds to 1.
  const auto z = torch::special_ndtri(low + (high - low) * positions).clamp(z_low, z_high);
  const auto t = clamp_to(schedule, schedule.time_of(-2.0 * (mean + deviation * z)));
  const auto density_of_log =
      (-0.5 * z.square()).exp() / (std::sqrt(2.0 * std::numbers::pi) * deviation * (high - low));
  return {t, -2.0 / (density_of_log * schedule.d_log_snr(t))};
}

// The distribution function of a density sigmoid(l) is softplus(l); its inverse is log(expm1(y)),
// written so that a large y does not overflow.
TimeSample v_importance_times(const Schedule& schedule, const torch::Tensor& positions) {
  const LogSnrRange range = log_snr_range(schedule);
  const auto softplus = [](double x) {
    return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
  };
  const double first = softplus(range.clean);
  const double mass = first - softplus(range.noisy);
  const auto y = first - mass * positions;
  const auto log_snr = y + (-torch::expm1(-y)).log();
  const auto t = clamp_to(schedule, schedule.time_of(log_snr));
  return {t, -mass / (torch::sigmoid(log_snr) * schedule.d_log_snr(t))};
}

TimeSample draw_times(const TimeRule& rule, const Schedule& schedule, const RandomKey& key,
                      const std::vector<int64_t>& slots, int64_t global_batch) {
  for (const Rule& known : kRules) {
    if (rule.name != known.name) continue;
    return known.map(rule, schedule,
                     known.stratified ? stratified_positions(key, slots, global_batch)
                                      : independent_positions(key, slots));
  }
  std::string sentence = "diffusion.time_sampling = \"" + rule.name + "\": expected one of";
  for (const std::string& name : time_sampling_names()) sentence += " " + name;
  throw ConfigError(sentence + ".");
}

std::vector<std::string> time_sampling_names() {
  std::vector<std::string> names;
  for (const Rule& rule : kRules) names.emplace_back(rule.name);
  return names;
}

}  // namespace scorenet::diffusion
