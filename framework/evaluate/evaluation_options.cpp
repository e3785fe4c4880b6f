#include "framework/evaluate/evaluation_options.hpp"

#include "framework/diffusion/names.hpp"

namespace scorenet::evaluate {

std::vector<std::string> decoder_choices() {
  std::vector<std::string> names = diffusion::decoder_names();
  names.insert(names.begin(), "auto");
  return names;
}

std::vector<std::string> dequantise_choices() {
  return {"auto", "uniform", "truncated-normal", "variational"};
}

diffusion::HbarShape hbar_shape(const EvaluationOptions& options) {
  return options.hbar.schedule.empty() ? diffusion::HbarShape()
                                       : diffusion::parse_hbar_shape(options.hbar.schedule);
}

EvaluationOptions training_evaluation(const config::EvalConfig& c) {
  EvaluationOptions o;
  o.n = c.n;
  o.seed = static_cast<uint64_t>(c.seed);
  o.batch = c.micro_batch;
  o.time_samples = c.time_samples;
  o.decoder = c.decoder;
  o.time_budget_s = c.time_budget_s;
  return o;
}

}  // namespace scorenet::evaluate
