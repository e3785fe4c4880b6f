#include "framework/evaluate/evaluation_report.hpp"

#include <cmath>
#include <cstdio>

#include "framework/core/error.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/diffusion/likelihood/units.hpp"
#include "framework/evaluate/example_statistics.hpp"
#include "framework/evaluate/file_units.hpp"
#include "framework/files/output_guard.hpp"

namespace scorenet::evaluate {
namespace {

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

torch::Tensor finite_mask(const MetricResult& result) {
  auto mask = torch::isfinite(result.nats);
  for (const auto& term : result.terms) mask = mask & torch::isfinite(term.second);
  if (result.shares.defined()) mask = mask & torch::isfinite(result.shares).all(1);
  return mask;
}

std::string value_and_error(double value, double error) {
  if (!std::isfinite(value)) return "not finite";
  const std::string text = number("%.4f", value);
  return std::isfinite(error) ? text + " +- " + number("%.4f", error) : text;
}

std::string sample_metric_line(const SampleMetricReport& metric) {
  std::string text = metric.name + " (";
  for (const auto& [name, value] : metric.values) text += name + " " + number("%.5f", value) + ", ";
  if (!metric.features.empty()) text += "features of " + metric.features + ", ";
  if (!metric.reference.empty()) text += "against " + metric.reference + ", ";
  text += metric.from.empty() ? metric.sampler + ", " + metric.final
                              : std::to_string(metric.samples) + " samples of " + metric.from;
  if (metric.levels > 0) text += " in " + std::to_string(metric.levels) + " levels";
  return text + "; n " + std::to_string(metric.n) + ", nfe " + number("%.1f", metric.nfe) + ", " +
         number("%.1f", metric.seconds) + " s)";
}

std::string line_of(const MetricReport& metric, const MetricResult& result,
                    const EvaluationReport& report) {
  const double scale = report.discrete ? diffusion::bits_per_dim(1.0, report.dims) : 1.0;
  std::string text = metric.name;
  if (result.hbar) text += " at h = " + number("%g", *result.hbar);
  text += " " + value_and_error(scale * result.nats_mean(), scale * result.nats_stderr()) +
          (report.discrete      ? " bits/dim ("
           : report.transformed ? " nats in the file's units ("
                                : " nats (") +
          diffusion::name_of(result.kind);
  for (const auto& [name, values] : result.terms)
    text += ", " + name + " " + number("%.4f", scale * mean_of(result.finite(values)));
  if (report.transformed) text += "; network's units " + number("%.4f", result.nats_mean_network());
  text += "; n " + std::to_string(result.nats.numel());
  if (result.failed() > 0) text += " of which " + std::to_string(result.failed()) + " failed";
  if (result.solver_error.defined())
    text += ", solver error " + number("%.4f", scale * mean_of(result.finite(result.solver_error)));
  return text + ", nfe " + number("%.1f", result.nfe) + ", " + number("%.1f", metric.seconds) +
         " s)";
}

std::string best_line(const MetricReport& metric) {
  return metric.name + ": best at h = " + number("%g", metric.best->hbar) + ", " +
         value_and_error(metric.best->gain, metric.best->gain_stderr) +
         " nats below h = " + number("%g", metric.best_reference) + " (paired); h from " +
         number("%g", metric.best->hbar_low) + " to " + number("%g", metric.best->hbar_high) +
         " is within two standard errors; " + std::to_string(metric.best->compared) + " of " +
         std::to_string(metric.results.front().nats.numel()) + " examples finite at every h";
}

}  // namespace

torch::Tensor MetricResult::finite(const torch::Tensor& values) const {
  return values.index({finite_mask(*this)});
}

int64_t MetricResult::failed() const { return nats.numel() - finite(nats).numel(); }

double MetricResult::nats_mean() const { return mean_of(finite(nats)); }

double MetricResult::nats_mean_network() const {
  for (const auto& [name, values] : terms)
    if (name == kJacobianTerm) return mean_of(finite(nats - values));
  return nats_mean();
}

double MetricResult::nats_stderr() const { return standard_error_of(finite(nats)); }

diffusion::ResultKind MetricReport::kind() const {
  diffusion::ResultKind weakest = results.front().kind;
  for (const MetricResult& result : results) weakest = diffusion::weaker(weakest, result.kind);
  return weakest;
}

std::string summary(const EvaluationReport& report) {
  std::string text;
  const auto add = [&text](const std::string& line) { text += (text.empty() ? "" : "\n") + line; };
  for (const MetricReport& metric : report.metrics) {
    for (const MetricResult& result : metric.results) add(line_of(metric, result, report));
    if (metric.best) add(best_line(metric));
  }
  for (const SampleMetricReport& metric : report.sample_metrics) add(sample_metric_line(metric));
  return text;
}

void require_finite(const EvaluationReport& report) {
  const auto refuse = [](const std::string& name, int64_t n) {
    throw NotFiniteError("evaluate, metric " + name + ": no value is finite (n " +
                         std::to_string(n) +
                         "). Check that the network and the data belong together, and the metric's "
                         "own options.");
  };
  for (const MetricReport& metric : report.metrics) {
    int64_t all = 0, failed = 0;
    for (const MetricResult& result : metric.results) {
      all += result.nats.numel();
      failed += result.failed();
    }
    if (all > 0 && failed == all) refuse(metric.name, metric.results.front().nats.numel());
  }
  for (const SampleMetricReport& metric : report.sample_metrics) {
    bool finite = metric.values.empty();
    for (const auto& entry : metric.values) finite = finite || std::isfinite(entry.second);
    if (!finite) refuse(metric.name, metric.n);
  }
}

std::vector<std::pair<std::string, double>> headline(const EvaluationReport& report) {
  std::vector<std::pair<std::string, double>> out;
  for (const MetricReport& metric : report.metrics) {
    const double nats = metric.results.front().nats_mean();
    out.emplace_back(metric.name + "_nats", nats);
    if (report.discrete)
      out.emplace_back(metric.name + "_bits_per_dim", diffusion::bits_per_dim(nats, report.dims));
  }
  for (const SampleMetricReport& metric : report.sample_metrics)
    out.insert(out.end(), metric.values.begin(), metric.values.end());
  return out;
}

void write_per_example(const std::string& path, const EvaluationReport& report) {
  files::ReplacingFile whole(path);
  data::Hdf5File file = data::Hdf5File::create(whole.path().string());
  for (const MetricReport& metric : report.metrics) {
    const MetricResult& first = metric.results.front();
    if (first.hbar) {
      std::vector<double> hbars;
      std::vector<torch::Tensor> rows;
      for (const MetricResult& result : metric.results) {
        hbars.push_back(*result.hbar);
        rows.push_back(result.nats);
      }
      file.write_array("/" + metric.name, torch::stack(rows));
      file.write_array("/" + metric.name + "_hbars", torch::tensor(hbars, torch::kFloat64));
    } else if (metric.separate_terms.empty()) {
      file.write_array("/" + metric.name, first.nats);
    }
    for (const auto& [name, values] : first.terms) {
      for (const auto& separate : metric.separate_terms)
        if (name == separate) file.write_array("/" + metric.name + "_" + name, values);
    }
    if (first.shares.defined()) file.write_array("/" + metric.name + "_profile", first.shares);
  }
  file.close();
  whole.commit();
}

}  // namespace scorenet::evaluate
