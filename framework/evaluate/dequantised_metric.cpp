#include "framework/evaluate/dequantised_metric.hpp"

#include <algorithm>

#include "framework/core/error.hpp"
#include "framework/diffusion/likelihood/dequantise.hpp"
#include "framework/evaluate/file_units.hpp"

namespace scorenet::evaluate {
namespace {

using diffusion::LikelihoodResult;
using diffusion::ResultKind;
using Draw = std::vector<LikelihoodResult>;  // one, or one for each h

// The state at t_min itself, and not data to which its noise is still to be added.
bool gives_state(const std::string& how) {
  return how == "truncated-normal" || how == "variational";
}

void check(DensityPoint point, const std::string& name, const MetricRequest& request) {
  const std::string& how = request.options.dequantise.how;
  const auto choices = dequantise_choices();
  if (std::find(choices.begin(), choices.end(), how) == choices.end()) {
    throw ConfigError("--dequantise " + how +
                      ": not known. Choose auto, uniform, truncated-normal or variational.");
  }
  if (request.levels == 0 && how != "auto") {
    throw ConfigError("--dequantise " + how +
                      ": the data is continuous and has no levels to spread. Leave it out.");
  }
  if (gives_state(how) && point == DensityPoint::data) {
    throw ConfigError("--dequantise " + how + ": gives the state at t_min, and " + name +
                      " starts from the data. Choose --dequantise uniform for it.");
  }
  if (request.options.dequantise.samples < 1) {
    throw ConfigError("--dequantise-samples " + std::to_string(request.options.dequantise.samples) +
                      ": must be at least 1.");
  }
}

diffusion::Dequantised dequantised(const MetricBatch& batch, const MetricRequest& request,
                                   int64_t index) {
  const auto levels = batch.x.cpu();
  const auto& options = request.options;
  const auto& schedule = *request.model.schedule;
  if (options.dequantise.how == "truncated-normal") {
    return diffusion::dequantise_truncated_normal(levels, schedule, batch.slots, options.seed,
                                                  index, request.levels);
  }
  if (options.dequantise.how == "variational")
    return diffusion::dequantise_variational(levels, schedule, batch.slots, options.seed, index,
                                             request.levels);
  return diffusion::dequantise_uniform(levels, batch.slots, options.seed, index, request.levels);
}

// Result `at` of all draws as one; log_q (K, B).
LikelihoodResult joined(const std::vector<Draw>& draws, size_t at, const torch::Tensor& log_q) {
  const auto over_draws = [&](auto value) {
    std::vector<torch::Tensor> rows;
    for (const Draw& draw : draws) rows.push_back(value(draw[at]));
    return torch::stack(rows);
  };
  const LikelihoodResult& first = draws[0][at];
  const auto nats = over_draws([](const LikelihoodResult& r) { return r.nats; });
  const auto weights = torch::softmax(-nats - log_q, 0);
  LikelihoodResult result;
  result.kind = first.kind == ResultKind::exact ? ResultKind::bound : first.kind;
  result.nats = diffusion::importance_weighted_nats(nats, log_q);
  for (size_t i = 0; i < first.terms.size(); ++i) {
    const auto values = over_draws([i](const LikelihoodResult& r) { return r.terms[i].second; });
    result.terms.emplace_back(first.terms[i].first, (weights * values).sum(0));
  }
  result.terms.emplace_back("dequantisation", result.nats - (weights * nats).sum(0));
  if (first.solver_error.defined()) {
    // Importance weights sum to one, so the joined value moves by no more than its draws.
    const auto moved = over_draws([](const LikelihoodResult& r) { return r.solver_error; });
    result.solver_error = std::get<0>(moved.max(0));
  }
  result.nfe = over_draws([](const LikelihoodResult& r) { return r.nfe; }).sum(0);
  return result;
}

}  // namespace

Metric with_dequantisation(Metric density, DensityPoint point, const std::string& name,
                           const MetricRequest& request) {
  check(point, name, request);
  if (request.levels == 0) return in_file_units(std::move(density), request);
  density.terms.push_back("dequantisation");
  density.compute = [request, of_density = density.compute](const MetricBatch& batch) {
    std::vector<Draw> draws;
    std::vector<torch::Tensor> log_q;
    for (int64_t k = 0; k < request.options.dequantise.samples; ++k) {
      const auto y = dequantised(batch, request, k);
      draws.push_back(
          of_density({batch.denoiser, y.y.to(batch.x.device()), batch.slots, {}, batch.is_told}));
      log_q.push_back(y.log_q);
    }
    Draw results;
    for (size_t at = 0; at < draws[0].size(); ++at)
      results.push_back(joined(draws, at, torch::stack(log_q)));
    return results;
  };
  return density;
}

}  // namespace scorenet::evaluate
