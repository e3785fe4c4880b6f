#include "framework/optim/ema.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "framework/core/check.hpp"

namespace scorenet::optim {
namespace {

constexpr double kWidestPower = 0.28;  // gamma = 0, a plain average, has width 1 / sqrt(12) = 0.289

std::string compact(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

[[noreturn]] void fail(const char* what, double value, const char* must) {
  throw ConfigError(std::string("ema: ") + what + " " + compact(value) + ": must be " + must + ".");
}

// Decay over `amount` (steps or images) with the half-life limited to ramp_up times what
// was done before.
double ramped_decay(double half_life, double ramp_up, double before, double amount) {
  if (ramp_up > 0) half_life = std::min(half_life, ramp_up * before);
  return half_life > 0 ? std::exp2(-amount / half_life) : 0.0;
}

double constant_decay(const EmaProfile& profile, const EmaMoment& moment) {
  if (!(profile.value >= 0 && profile.value < 1)) fail("decay", profile.value, "in [0, 1)");
  if (profile.ramp_up <= 0 || profile.value == 0) return profile.value;
  const double half_life = -1.0 / std::log2(profile.value);
  return std::min(profile.value,
                  ramped_decay(half_life, profile.ramp_up, static_cast<double>(moment.step), 1.0));
}

}  // namespace

std::string ema_name(const EmaProfile& profile) {
  switch (profile.kind) {
    case EmaProfile::Kind::constant:
      return compact(profile.value);
    case EmaProfile::Kind::half_life:
      return compact(profile.value / 1000) + "kimg";
    case EmaProfile::Kind::power:
      return "std" + compact(profile.value);
  }
  throw ConfigError("ema: unknown kind of profile.");
}

double ema_power_exponent(double sigma_rel) {
  if (!(sigma_rel > 0 && sigma_rel < kWidestPower)) {
    fail("sigma_rel", sigma_rel, "in (0, 0.28)");
  }
  // The width falls with gamma, from 0.289 at 0 and like 1 / gamma: bisection has both ends.
  const auto width = [](double g) { return std::sqrt((g + 1) / ((g + 2) * (g + 2) * (g + 3))); };
  double low = 0.0, high = 1.0 / sigma_rel;
  while (width(high) > sigma_rel) high *= 2;
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = 0.5 * (low + high);
    (width(middle) > sigma_rel ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

double ema_decay(const EmaProfile& profile, const EmaMoment& moment) {
  const auto before = static_cast<double>(moment.images_before);
  const auto batch = static_cast<double>(moment.batch);
  switch (profile.kind) {
    case EmaProfile::Kind::constant:
      return constant_decay(profile, moment);
    case EmaProfile::Kind::half_life:
      if (!(profile.value > 0)) fail("half-life in images", profile.value, "positive");
      return ramped_decay(profile.value, profile.ramp_up, before, batch);
    case EmaProfile::Kind::power:
      return std::pow(before / (before + batch), ema_power_exponent(profile.value) + 1);
  }
  throw ConfigError("ema: unknown kind of profile.");
}

EmaSet::EmaSet(const torch::Tensor& weights, std::vector<EmaProfile> profiles)
    : profiles_(std::move(profiles)) {
  for (const EmaProfile& profile : profiles_) {
    ema_decay(profile,
              {.step = 0, .images_before = 0, .batch = 1});  // throws early if it cannot work
    averages_.push_back(weights.detach().clone());
  }
}

void EmaSet::update(const torch::Tensor& weights, const EmaMoment& moment) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < profiles_.size(); ++i) {
    averages_[i].lerp_(weights, 1.0 - ema_decay(profiles_[i], moment));
  }
}

void EmaSet::update(const torch::Tensor& weights, const torch::Tensor& shares) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < averages_.size(); ++i)
    averages_[i].lerp_(weights, shares.select(0, static_cast<int64_t>(i)));
}

std::vector<double> EmaSet::shares(const EmaMoment& moment) const {
  std::vector<double> all;
  for (const EmaProfile& profile : profiles_) all.push_back(1.0 - ema_decay(profile, moment));
  return all;
}

EmaScope::EmaScope(torch::Tensor weights, const torch::Tensor& average)
    : weights_(std::move(weights)), own_(weights_.detach().clone()) {
  check_same_shape(weights_, average, "EMA and weights");
  const torch::NoGradGuard no_grad;
  weights_.copy_(average);
}

EmaScope::~EmaScope() {
  const torch::NoGradGuard no_grad;
  weights_.copy_(own_);
}

}  // namespace scorenet::optim
