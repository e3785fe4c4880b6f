// The table of schedule names: options in, a checked schedule out.
//
// Default ends, where the closed form leaves [0, 1] open:
//     vp_linear 1e-5 .. 1 (score_sde's likelihood eps: log_snr 13.8 .. -10), vp_constant the same;
//     subvp 1e-3 .. 1 (sigma = O(t), not O(sqrt t): 1e-5 would lie below float32's resolution of
//     x_t); vp_cosine 1e-4 .. 0.999 (alpha vanishes at 1; log_snr 12.4 .. -12.9); vp_ramp 0.01 .. 1
//     and vp_tan 0.01 .. 0.999 (Hirono et al. 2024, 2403.11262); flow 1e-3 .. 0.999 (log_snr 13.8
//     .. -13.8); edm sigma_min .. sigma_max; the others 0 .. 1.
#include <sstream>

#include "framework/core/error.hpp"
#include "framework/diffusion/learned_schedule.hpp"
#include "framework/diffusion/schedules.hpp"

namespace scorenet::diffusion {
namespace {

using Made = std::shared_ptr<const Schedule>;

[[noreturn]] void reject(const std::string& key, double value, const std::string& expected) {
  std::ostringstream sentence;
  sentence << "diffusion." << key << " = " << value << ": must be " << expected
           << ". Set it in the config file or with --diffusion." << key << ".";
  throw ConfigError(sentence.str());
}

struct Range {
  double t_min;
  double t_max;
};

// The user's ends where given, else the schedule's own. open_*: the formula has a singularity at
// that end of [0, 1].
Range range_or(const ScheduleOptions& options, Range own, bool open_at_0, bool open_at_1) {
  const double t_min = options.t_min == -1 ? own.t_min : options.t_min;
  const double t_max = options.t_max == -1 ? own.t_max : options.t_max;
  const std::string name = options.name;
  if (!(t_min >= 0) || (open_at_0 && t_min == 0)) {
    reject("t_min", t_min, (open_at_0 ? "> 0 for schedule " : ">= 0 for schedule ") + name);
  }
  if (!(t_max <= 1) || (open_at_1 && t_max == 1)) {
    reject("t_max", t_max, (open_at_1 ? "< 1 for schedule " : "<= 1 for schedule ") + name);
  }
  return {t_min, t_max};
}

void check_betas(const ScheduleOptions& o) {
  if (!(o.beta_min >= 0)) reject("beta_min", o.beta_min, ">= 0");
  if (!(o.beta_max > 0 && o.beta_max >= o.beta_min)) {
    reject("beta_max", o.beta_max, "> 0 and no less than diffusion.beta_min");
  }
}
void check_beta(const ScheduleOptions& o) {
  if (!(o.beta > 0)) reject("beta", o.beta, "> 0");
}
void check_gammas(const ScheduleOptions& o) {
  if (!(o.gamma_min < o.gamma_max)) {
    reject("gamma_min", o.gamma_min, "less than diffusion.gamma_max");
  }
}
void check_sigmas(const ScheduleOptions& o) {
  if (!(o.sigma_min > 0)) reject("sigma_min", o.sigma_min, "> 0");
  if (!(o.sigma_max > o.sigma_min)) {
    reject("sigma_max", o.sigma_max, "greater than diffusion.sigma_min");
  }
}

Made make_vp_linear(const ScheduleOptions& o) {
  check_betas(o);
  const auto r = range_or(o, {1e-5, 1}, true, false);
  return std::make_shared<LinearBetaVp>(o.beta_min, o.beta_max, r.t_min, r.t_max);
}
Made make_vp_constant(const ScheduleOptions& o) {
  check_beta(o);
  const auto r = range_or(o, {1e-5, 1}, true, false);
  return std::make_shared<LinearBetaVp>(o.beta, o.beta, r.t_min, r.t_max);
}
Made make_vp_ramp(const ScheduleOptions& o) {
  check_beta(o);
  const auto r = range_or(o, {0.01, 1}, true, false);
  return std::make_shared<LinearBetaVp>(0.0, o.beta, r.t_min, r.t_max);
}
Made make_subvp(const ScheduleOptions& o) {
  check_betas(o);
  const auto r = range_or(o, {1e-3, 1}, true, false);
  return std::make_shared<SubVp>(o.beta_min, o.beta_max, r.t_min, r.t_max);
}
Made make_vp_cosine(const ScheduleOptions& o) {
  const auto r = range_or(o, {1e-4, 0.999}, true, true);
  return std::make_shared<CosineVp>(0.008, r.t_min, r.t_max);
}
Made make_vp_tan(const ScheduleOptions& o) {
  const auto r = range_or(o, {0.01, 0.999}, true, true);
  return std::make_shared<CosineVp>(0.0, r.t_min, r.t_max);
}
Made make_vdm_linear(const ScheduleOptions& o) {
  check_gammas(o);
  const auto r = range_or(o, {0, 1}, false, false);
  return std::make_shared<LinearLogSnrVp>(o.gamma_min, o.gamma_max, r.t_min, r.t_max);
}
Made make_vdm_learned(const ScheduleOptions& o) {
  check_gammas(o);
  // Elsewhere than at 0 and 1 the ends would move with the inside.
  if (o.t_min != -1 && o.t_min != 0)
    reject("t_min", o.t_min, "0 for schedule vdm_learned, which pins that end");
  if (o.t_max != -1 && o.t_max != 1)
    reject("t_max", o.t_max, "1 for schedule vdm_learned, which pins that end");
  constexpr int64_t kHidden = 1024;  // VDM's
  return std::make_shared<LearnedSchedule>(
      std::make_shared<MonotoneGamma>(o.gamma_min, o.gamma_max, kHidden, o.learn_ends), 0, 1);
}
Made make_ve(const ScheduleOptions& o) {
  check_sigmas(o);
  const auto r = range_or(o, {0, 1}, false, false);
  return std::make_shared<VeGeometric>(o.sigma_min, o.sigma_max, r.t_min, r.t_max);
}
Made make_edm(const ScheduleOptions& o) {
  check_sigmas(o);
  const double t_min = o.t_min == -1 ? o.sigma_min : o.t_min;
  const double t_max = o.t_max == -1 ? o.sigma_max : o.t_max;
  if (!(t_min > 0)) reject("t_min", t_min, "> 0 for schedule edm, whose time is sigma");
  return std::make_shared<Edm>(o.sigma_max, t_min, t_max);
}
Made make_flow(const ScheduleOptions& o) {
  const auto r = range_or(o, {1e-3, 0.999}, true, true);
  return std::make_shared<Flow>(r.t_min, r.t_max);
}

struct Entry {
  const char* name;
  Made (*make)(const ScheduleOptions&);
};

constexpr Entry kSchedules[] = {
    {"vp_linear", make_vp_linear},
    {"vp_cosine", make_vp_cosine},
    {"vdm_linear", make_vdm_linear},
    {"vdm_learned", make_vdm_learned},
    {"ve", make_ve},
    {"subvp", make_subvp},
    {"edm", make_edm},
    {"flow", make_flow},
    {"vp_constant", make_vp_constant},
    {"vp_ramp", make_vp_ramp},
    {"vp_tan", make_vp_tan},
};

}  // namespace

std::shared_ptr<const Schedule> make_schedule(const ScheduleOptions& options) {
  for (const Entry& entry : kSchedules) {
    if (options.name == entry.name) return entry.make(options);
  }
  std::string sentence = "diffusion.schedule = \"" + options.name + "\": expected one of";
  for (const std::string& name : schedule_names()) sentence += " " + name;
  throw ConfigError(sentence + ".");
}

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kSchedules) names.emplace_back(entry.name);
  return names;
}

}  // namespace scorenet::diffusion
