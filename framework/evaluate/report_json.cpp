// The report of an evaluation as JSON, as launch/README.md describes it.
#include <torch/utils.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "framework/core/build_info.hpp"
#include "framework/diffusion/likelihood/units.hpp"
#include "framework/evaluate/evaluation_report.hpp"
#include "framework/evaluate/example_statistics.hpp"

namespace scorenet::evaluate {
namespace {

using Json = nlohmann::ordered_json;

Json mean_and_error(const MetricResult& result, const EvaluationReport& report) {
  Json entry;
  entry["nats_mean"] = result.nats_mean();
  entry["nats_stderr"] = result.nats_stderr();
  entry["nats_mean_network"] = nullptr;
  if (!report.discrete) entry["nats_mean_network"] = result.nats_mean_network();
  entry["bits_per_dim"] = nullptr;
  if (report.discrete)
    entry["bits_per_dim"] = diffusion::bits_per_dim(result.nats_mean(), report.dims);
  Json terms = Json::object();
  for (const auto& [name, values] : result.terms) terms[name] = mean_of(result.finite(values));
  entry["terms"] = terms;
  entry["failed"] = result.failed();
  entry["nfe"] = result.nfe;
  if (result.solver_error.defined()) {
    const auto moved = result.finite(result.solver_error);
    entry["solver_error_mean"] = mean_of(moved);
    entry["solver_error_max"] = quantile_of(moved, 1);
  }
  return entry;
}

// Mean, its standard error, median and 5 and 95 % quantiles of each separate term.
Json distributions(const MetricReport& metric) {
  Json out = Json::object();
  for (const auto& [name, values] : metric.results.front().terms) {
    for (const auto& separate : metric.separate_terms) {
      if (name != separate) continue;
      const auto finite = metric.results.front().finite(values);
      out[name + "_mean"] = mean_of(finite);
      out[name + "_stderr"] = standard_error_of(finite);
      out[name + "_median"] = quantile_of(finite, 0.5);
      out[name + "_q05"] = quantile_of(finite, 0.05);
      out[name + "_q95"] = quantile_of(finite, 0.95);
    }
  }
  return out;
}

// When noise helps: mean, standard error, median and 5 and 95 % quantiles of nll1's share in each
// window of time.
Json profile(const MetricReport& metric) {
  const auto finite = metric.results.front().finite(metric.results.front().shares);
  const auto list = [](const torch::Tensor& values) {
    const auto plain = values.contiguous();
    return std::vector<double>(plain.const_data_ptr<double>(),
                               plain.const_data_ptr<double>() + plain.numel());
  };
  Json out;
  out["t"] = list(metric.windows.t);
  out["log_snr"] = list(metric.windows.log_snr);
  if (finite.size(0) == 0) return out;
  const double root = std::sqrt(static_cast<double>(finite.size(0)));
  out["nll1_mean"] = list(finite.mean(0));
  // Of one example it is NaN, in JSON null.
  const auto spread =
      finite.size(0) > 1 ? finite.std(0) : torch::full_like(finite[0], std::nan(""));
  out["nll1_stderr"] = list(spread / root);
  out["nll1_median"] = list(finite.quantile(0.5, 0));
  out["nll1_q05"] = list(finite.quantile(0.05, 0));
  out["nll1_q95"] = list(finite.quantile(0.95, 0));
  return out;
}

Json over_hbar(const MetricReport& metric, const EvaluationReport& report) {
  Json list = Json::array();
  for (const MetricResult& result : metric.results) {
    Json entry;
    entry["hbar"] = *result.hbar;
    entry["kind"] = diffusion::name_of(result.kind);
    entry.update(mean_and_error(result, report));
    list.push_back(entry);
  }
  return list;
}

Json best_of(const diffusion::BestHbar& best, double reference, int64_t n) {
  Json entry;
  entry["hbar"] = best.hbar;
  entry["nats_mean"] = best.nats_mean;
  entry["nats_stderr"] = best.nats_stderr;
  entry["reference_hbar"] = reference;
  entry["gain"] = best.gain;
  entry["gain_stderr"] = best.gain_stderr;
  entry["hbar_low"] = best.hbar_low;
  entry["hbar_high"] = best.hbar_high;
  entry["compared"] = best.compared;
  entry["failed"] = n - best.compared;
  return entry;
}

Json metric_json(const MetricReport& metric, const EvaluationReport& report) {
  const MetricResult& first = metric.results.front();
  Json entry;
  entry["kind"] = diffusion::name_of(metric.kind());
  entry["n"] = first.nats.numel();
  if (!metric.solver.empty()) entry["solver"] = metric.solver;
  entry.update(mean_and_error(first, report));
  entry.update(distributions(metric));
  if (first.shares.defined()) entry["profile"] = profile(metric);
  if (first.hbar) entry["per_hbar"] = over_hbar(metric, report);
  if (metric.best)
    entry["best_hbar"] = best_of(*metric.best, metric.best_reference, first.nats.numel());
  entry["seconds"] = metric.seconds;
  return entry;
}

Json sample_metric_json(const SampleMetricReport& metric) {
  Json entry;
  entry["kind"] = diffusion::name_of(diffusion::ResultKind::estimate);
  entry["n"] = metric.n;
  entry["samples"] = metric.samples;
  entry["nats_mean"] = nullptr;
  entry["nats_stderr"] = nullptr;
  entry["bits_per_dim"] = nullptr;
  for (const auto& [name, value] : metric.values) entry[name] = value;
  if (!metric.features.empty()) entry["features"] = metric.features;
  if (!metric.reference.empty()) entry["reference"] = metric.reference;
  if (!metric.from.empty()) entry["samples_from"] = metric.from;
  if (metric.from.empty()) entry["sampler"] = metric.sampler;
  if (metric.from.empty()) entry["final"] = metric.final;
  entry["levels"] = nullptr;
  if (metric.levels > 0) entry["levels"] = metric.levels;
  entry["nfe"] = metric.nfe;
  entry["seconds"] = metric.seconds;
  return entry;
}

}  // namespace

nlohmann::ordered_json to_json(const EvaluationReport& report) {
  Json metrics = Json::object();
  for (const MetricReport& metric : report.metrics)
    metrics[metric.name] = metric_json(metric, report);
  for (const SampleMetricReport& metric : report.sample_metrics)
    metrics[metric.name] = sample_metric_json(metric);
  Json out;
  out["program"] = build_line();
  out["network"] = report.network;
  out["data"] = report.data;
  out["split"] = report.split;
  out["n"] = report.metrics.empty() ? report.n : report.metrics[0].results[0].nats.numel();
  out["dims"] = report.dims;
  out["seed"] = report.seed;
  out["world_size"] = report.world_size;
  if (!report.hbar_schedule.empty()) out["hbar_schedule"] = report.hbar_schedule;
  out["metrics"] = metrics;
  return out;
}

}  // namespace scorenet::evaluate
