#include "framework/diffusion/discrete_steps.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "framework/core/error.hpp"
#include "framework/diffusion/names.hpp"

namespace scorenet::diffusion {
namespace {

// The i-th of n numbers from a to b.
double between(double a, double b, int64_t i, int64_t n) {
  return a + (b - a) * static_cast<double>(i) / static_cast<double>(n - 1);
}

double linear(const DiscreteSteps& d, int64_t i) {
  return between(d.beta_min, d.beta_max, i, d.steps);
}

double scaled_linear(const DiscreteSteps& d, int64_t i) {
  return std::pow(between(std::sqrt(d.beta_min), std::sqrt(d.beta_max), i, d.steps), 2);
}

double squared_cosine(const DiscreteSteps& d, int64_t i) {
  const auto f = [&d](int64_t k) {
    const double t = static_cast<double>(k) / static_cast<double>(d.steps);
    return std::pow(std::cos(std::numbers::pi / 2 * (t + 0.008) / 1.008), 2);
  };
  return std::min(1 - f(i + 1) / f(i), 0.999);
}

double sigmoid(const DiscreteSteps& d, int64_t i) {
  const double share = 1 / (1 + std::exp(-between(-6, 6, i, d.steps)));
  return d.beta_min + (d.beta_max - d.beta_min) * share;
}

struct Entry {
  const char* name;
  double (*beta)(const DiscreteSteps&, int64_t);
};
constexpr Entry kLaws[] = {{"linear", linear},
                           {"scaled_linear", scaled_linear},
                           {"squared_cosine", squared_cosine},
                           {"sigmoid", sigmoid}};

const Entry& law_of(const DiscreteSteps& d) {
  std::string known;
  for (const Entry& entry : kLaws) {
    if (d.law == entry.name) return entry;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw ConfigError("discrete steps: law \"" + d.law + "\" is not known. Known are " + known + ".");
}

}  // namespace

std::vector<std::string> step_law_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kLaws) names.emplace_back(entry.name);
  return names;
}

std::vector<double> betas_of_steps(const DiscreteSteps& d) {
  const Entry& law = law_of(d);
  if (d.steps < 2)
    throw ConfigError("discrete steps: " + std::to_string(d.steps) + ", must be at least 2.");
  if (!(0 < d.beta_min && d.beta_min <= d.beta_max && d.beta_max < 1)) {
    throw ConfigError("discrete steps: beta from " + std::to_string(d.beta_min) + " to " +
                      std::to_string(d.beta_max) + ", must rise within (0, 1).");
  }
  std::vector<double> betas;
  for (int64_t i = 0; i < d.steps; ++i) betas.push_back(law.beta(d, i));
  return betas;
}

std::vector<double> log_snr_of_steps(const DiscreteSteps& d) {
  std::vector<double> out;
  double log_product = 0;  // log A_i
  for (const double beta : betas_of_steps(d)) {
    log_product += std::log1p(-beta);
    out.push_back(log_product - std::log(-std::expm1(log_product)));
  }
  return out;
}

std::vector<std::string> discrete_laws() {
  std::vector<std::string> names;
  for (const Entry& entry : kLaws) names.emplace_back(entry.name);
  return names;
}

}  // namespace scorenet::diffusion
