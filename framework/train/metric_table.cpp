#include "framework/train/metric_table.hpp"

#include <cstdlib>

#include "framework/core/error.hpp"
#include "framework/diffusion/likelihood/elbo.hpp"

namespace scorenet::train {
namespace {

using diffusion::LikelihoodResult;

diffusion::DrawOptions draws(const EvaluationOptions& options) {
  return {options.seed, options.time_samples};
}

LikelihoodResult elbo(const MetricInput& in) {
  const auto& schedule = *in.model.schedule;
  if (in.options.exact) return diffusion::elbo_exact(in.denoiser, schedule, in.decoder, in.x0);
  return diffusion::elbo(in.denoiser, schedule, in.decoder, in.x0, in.slots, draws(in.options));
}

LikelihoodResult elbo_stepwise(int64_t steps, const MetricInput& in) {
  const auto& schedule = *in.model.schedule;
  if (in.options.exact)
    return diffusion::elbo_stepwise_exact(in.denoiser, schedule, in.decoder, steps, in.x0);
  return diffusion::elbo_stepwise(in.denoiser, schedule, in.decoder, steps, in.x0, in.slots,
                                  draws(in.options));
}

// The T of "elbo-T", 0 if the name is no such.
int64_t steps_of(const std::string& name) {
  const std::string prefix = "elbo-";
  if (name.rfind(prefix, 0) != 0) return 0;
  char* end = nullptr;
  const long long steps = std::strtoll(name.c_str() + prefix.size(), &end, 10);
  return end && *end == '\0' && steps > 0 ? steps : 0;
}

}  // namespace

Metric find_metric(const std::string& name) {
  const std::vector<std::string> bound_terms = {"prior", "diffusion", "reconstruction"};
  if (name == "elbo") return {bound_terms, elbo};
  if (const int64_t steps = steps_of(name)) {
    return {bound_terms, [steps](const MetricInput& in) { return elbo_stepwise(steps, in); }};
  }
  throw ConfigError(
      "--metrics: '" + name +
      "' is not known. Known are elbo and elbo-T for a number T of steps, such as elbo-1000.");
}

}  // namespace scorenet::train
