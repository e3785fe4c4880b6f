#include "framework/train/evaluation.hpp"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>

#include "framework/core/check.hpp"
#include "framework/core/error.hpp"
#include "framework/data/transform.hpp"
#include "framework/diffusion/likelihood/units.hpp"
#include "framework/train/batches_over_ranks.hpp"
#include "framework/train/metric_table.hpp"

namespace scorenet::train {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

diffusion::Decoder decoder_for(const std::string& name, bool discrete) {
  if (name == "auto") return discrete ? diffusion::Decoder::discrete : diffusion::Decoder::flat;
  return diffusion::decoder_from_name(name);
}

// uint8 to [-1, 1]; continuous data as it stands. An analytic model works in float64.
torch::Tensor model_input(const torch::Tensor& examples, const ScoreModel& model) {
  const auto x =
      examples.scalar_type() == torch::kUInt8 ? data::scale_to_unit_range(examples) : examples;
  return x.to(model.device, model.is_analytic() ? torch::kFloat64 : torch::kFloat32);
}

data::Batch read_one_at_a_time(data::ImageDataset& dataset, const std::vector<int64_t>& slots,
                               std::mutex& mutex) {
  const std::lock_guard lock(mutex);
  return dataset.read(slots);
}

// One row an example: nats, the terms, nfe, kind, and 1 for "computed" (a time budget may leave rows out).
torch::Tensor row_of(const diffusion::LikelihoodResult& result) {
  std::vector<torch::Tensor> columns = {result.nats};
  for (const auto& [name, value] : result.terms) columns.push_back(value);
  columns.push_back(result.nfe);
  columns.push_back(torch::full_like(result.nats, static_cast<double>(result.kind)));
  columns.push_back(torch::ones_like(result.nats));
  return torch::stack(columns, 1);
}

MetricReport report_of(const std::string& name, const Metric& metric, const torch::Tensor& all_rows,
                       double seconds) {
  const int64_t width = all_rows.size(1);
  const auto rows = all_rows.index({all_rows.select(1, width - 1) == 1});
  MetricReport r;
  r.name = name;
  r.seconds = seconds;
  r.nats = rows.select(1, 0).clone();
  for (size_t i = 0; i < metric.terms.size(); ++i) {
    r.terms.emplace_back(metric.terms[i], rows.select(1, static_cast<int64_t>(i) + 1).clone());
  }
  if (rows.size(0) == 0) return r;
  r.nfe = rows.select(1, width - 3).mean().item<double>();
  r.kind = static_cast<diffusion::ResultKind>(static_cast<int>(rows[0][width - 2].item<double>()));
  return r;
}

MetricReport evaluate_metric(const std::string& name, const ScoreModel& model,
                             data::ImageDataset& dataset, int64_t n,
                             const EvaluationOptions& options, comm::Communicator& comm) {
  const Metric metric = find_metric(name);
  const bool discrete = dataset.kind() == data::DataKind::discrete;
  const auto start = Clock::now();
  std::mutex reading;
  const auto width = static_cast<int64_t>(metric.terms.size()) + 4;
  const auto compute = [&](int64_t first, int64_t count) {
    if (seconds_since(start) > options.time_budget_s)
      return torch::zeros({count, width}, torch::kFloat64);
    const auto slots = slot_range(first, count);
    const data::Batch batch = read_one_at_a_time(dataset, slots, reading);
    const bool conditional = !model.is_analytic() && model.config.model.num_classes > 0;
    const auto denoiser = denoiser_for(model, conditional ? batch.labels : torch::Tensor());
    return row_of(metric.compute({model, denoiser, model_input(batch.examples, model), slots,
                                  decoder_for(options.decoder, discrete), discrete, options}));
  };
  const auto rows = rows_over_ranks(comm, n, {width}, options.batch, compute);
  return report_of(name, metric, rows, seconds_since(start));
}

void check_fit(const ScoreModel& model, const data::ImageDataset& dataset) {
  if (model.is_analytic()) {
    if (model.mixture->dims() == dataset.dims()) return;
    throw ShapeError(model.name + ": a mixture in " + std::to_string(model.mixture->dims()) +
                     " dimensions, but " + dataset.path() + " has examples of " +
                     std::to_string(dataset.dims()) + ". Give data that fits.");
  }
  if (model.config.model.num_classes > 0) dataset.check_labels(model.config.model.num_classes);
}

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

double MetricReport::nats_mean() const {
  return nats.numel() ? nats.mean().item<double>() : std::nan("");
}

double MetricReport::nats_stderr() const {
  if (nats.numel() < 2) return 0;
  return nats.std().item<double>() / std::sqrt(static_cast<double>(nats.numel()));
}

EvaluationReport evaluate(const ScoreModel& model, data::ImageDataset& dataset,
                          const EvaluationOptions& options, comm::Communicator& comm) {
  check_fit(model, dataset);
  for (const auto& name : options.metrics)
    find_metric(name);  // a wrong name is told before hours of work
  EvaluationReport report;
  report.network = model.name;
  report.data = dataset.path();
  report.split = dataset.split();
  report.dims = dataset.dims();
  report.seed = options.seed;
  report.world_size = comm.size();
  report.discrete = dataset.kind() == data::DataKind::discrete;
  const int64_t n = options.n > 0 ? std::min(options.n, dataset.size()) : dataset.size();
  for (const auto& name : options.metrics) {
    report.metrics.push_back(evaluate_metric(name, model, dataset, n, options, comm));
  }
  return report;
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

nlohmann::ordered_json to_json(const EvaluationReport& report) {
  nlohmann::ordered_json metrics = nlohmann::ordered_json::object();
  for (const MetricReport& m : report.metrics) {
    nlohmann::ordered_json terms = nlohmann::ordered_json::object();
    for (const auto& [name, values] : m.terms)
      terms[name] = values.numel() ? values.mean().item<double>() : 0.0;
    nlohmann::ordered_json entry;
    entry["kind"] = diffusion::name_of(m.kind);
    entry["n"] = m.nats.numel();
    entry["nats_mean"] = m.nats_mean();
    entry["nats_stderr"] = m.nats_stderr();
    entry["bits_per_dim"] = nullptr;
    if (report.discrete)
      entry["bits_per_dim"] = diffusion::bits_per_dim(m.nats_mean(), report.dims);
    entry["terms"] = terms;
    entry["nfe"] = m.nfe;
    entry["seconds"] = m.seconds;
    metrics[m.name] = entry;
  }
  nlohmann::ordered_json out;
  out["network"] = report.network;
  out["data"] = report.data;
  out["split"] = report.split;
  out["n"] = report.metrics.empty() ? 0 : report.metrics[0].nats.numel();
  out["dims"] = report.dims;
  out["seed"] = report.seed;
  out["world_size"] = report.world_size;
  out["metrics"] = metrics;
  return out;
}

std::string summary(const EvaluationReport& report) {
  std::string text;
  for (const MetricReport& m : report.metrics) {
    const double scale = report.discrete ? diffusion::bits_per_dim(1.0, report.dims) : 1.0;
    text += (text.empty() ? "" : "\n") + m.name + " " + number("%.4f", scale * m.nats_mean()) +
            " +- " + number("%.4f", scale * m.nats_stderr()) +
            (report.discrete ? " bits/dim (" : " nats (") + diffusion::name_of(m.kind);
    for (const auto& [name, values] : m.terms) {
      text += ", " + name + " " +
              number("%.4f", values.numel() ? scale * values.mean().item<double>() : 0.0);
    }
    text += "; n " + std::to_string(m.nats.numel()) + ", nfe " + number("%.1f", m.nfe) + ", " +
            number("%.1f", m.seconds) + " s)";
  }
  return text;
}

std::vector<std::pair<std::string, double>> headline(const EvaluationReport& report) {
  std::vector<std::pair<std::string, double>> out;
  for (const MetricReport& m : report.metrics) {
    out.emplace_back(m.name + "_nats", m.nats_mean());
    if (report.discrete)
      out.emplace_back(m.name + "_bits_per_dim",
                       diffusion::bits_per_dim(m.nats_mean(), report.dims));
  }
  return out;
}

}  // namespace scorenet::train
