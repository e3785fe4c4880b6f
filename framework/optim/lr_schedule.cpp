#include "framework/optim/lr_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>

#include "framework/core/error.hpp"

namespace scorenet::optim {
namespace {

[[noreturn]] void fail(const std::string& key, const std::string& value, const std::string& must) {
  throw ConfigError("train." + key + " = " + value + ": must be " + must + ".");
}

void check(const LrScheduleOptions& o) {
  if (!(o.learning_rate > 0)) fail("learning_rate", std::to_string(o.learning_rate), "positive");
  if (o.warmup_steps < 0) fail("warmup_steps", std::to_string(o.warmup_steps), "at least 0");
  if (!(o.final_fraction >= 0 && o.final_fraction <= 1)) {
    fail("lr_final_fraction", std::to_string(o.final_fraction), "in [0, 1]");
  }
}

// 0 at the end of warm-up, 1 at the last step.
double progress(const LrScheduleOptions& o, int64_t step) {
  if (o.total_steps <= o.warmup_steps) {
    fail("steps", std::to_string(o.total_steps),
         "more than train.warmup_steps = " + std::to_string(o.warmup_steps) +
             " for train.lr_schedule = \"" + o.law + "\"");
  }
  const auto done = static_cast<double>(step - o.warmup_steps);
  return std::clamp(done / static_cast<double>(o.total_steps - o.warmup_steps), 0.0, 1.0);
}

double constant(const LrScheduleOptions&, int64_t) { return 1.0; }

double linear(const LrScheduleOptions& o, int64_t step) {
  return 1.0 + (o.final_fraction - 1.0) * progress(o, step);
}

double cosine(const LrScheduleOptions& o, int64_t step) {
  const double half_wave = 0.5 * (1.0 + std::cos(std::numbers::pi * progress(o, step)));
  return o.final_fraction + (1.0 - o.final_fraction) * half_wave;
}

double inverse_sqrt(const LrScheduleOptions& o, int64_t step) {
  if (o.reference_step < 1) {
    fail("lr_reference_step", std::to_string(o.reference_step), "at least 1");
  }
  return 1.0 / std::sqrt(std::max(static_cast<double>(step) / static_cast<double>(o.reference_step),
                                  1.0));
}

struct Law {
  const char* name;
  double (*fraction_of_peak)(const LrScheduleOptions&, int64_t step);
  bool needs_last_step;
};

// The next law is a function and one line here.
constexpr Law kLaws[] = {{"constant", constant, false},
                         {"cosine", cosine, true},
                         {"linear", linear, true},
                         {"inverse_sqrt", inverse_sqrt, false}};

const Law& law_named(const std::string& name) {
  std::string known;
  for (const Law& law : kLaws) {
    if (name == law.name) return law;
    known += (known.empty() ? "" : ", ") + std::string(law.name);
  }
  fail("lr_schedule", "\"" + name + "\"", "one of " + known);
}

}  // namespace

std::vector<std::string> lr_law_names() {
  std::vector<std::string> names;
  for (const Law& law : kLaws) names.emplace_back(law.name);
  return names;
}

bool needs_last_step(const std::string& name) {
  return std::any_of(std::begin(kLaws), std::end(kLaws),
                     [&name](const Law& law) { return law.needs_last_step && name == law.name; });
}

double learning_rate_at(const LrScheduleOptions& options, int64_t step) {
  check(options);
  const double peak =
      options.learning_rate * law_named(options.law).fraction_of_peak(options, step);
  if (step >= options.warmup_steps) return peak;
  return peak * static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps);
}

}  // namespace scorenet::optim
