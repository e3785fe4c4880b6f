#include "framework/evaluate/evaluation.hpp"

#include <algorithm>
#include <mutex>

#include "framework/comm/deadline.hpp"
#include "framework/comm/on_rank_zero.hpp"
#include "framework/core/error.hpp"
#include "framework/evaluate/metric_table.hpp"
#include "framework/evaluate/observed_dims.hpp"
#include "framework/evaluate/result_rows.hpp"
#include "framework/evaluate/rows_over_ranks.hpp"
#include "framework/evaluate/sample_metrics.hpp"
#include "framework/score/model_input.hpp"
#include "framework/score/told_conditions.hpp"

namespace scorenet::evaluate {
namespace {

data::Batch read_one_at_a_time(data::ImageDataset& dataset, const std::vector<int64_t>& slots,
                               std::mutex& mutex) {
  const std::lock_guard lock(mutex);
  return dataset.read(slots);
}

// Of one of the metric's results. Shares of windows are kept apart from the other terms.
MetricResult result_of(const Metric& metric, size_t index, const ResultColumns& columns) {
  MetricResult result;
  if (!metric.hbars.empty()) result.hbar = metric.hbars[index];
  result.nats = columns.nats;
  const auto& windows = metric.windows.terms;
  std::vector<torch::Tensor> shares;
  for (const auto& [name, values] : columns.terms) {
    if (std::find(windows.begin(), windows.end(), name) != windows.end())
      shares.push_back(values);
    else
      result.terms.emplace_back(name, values);
  }
  if (!shares.empty()) result.shares = torch::stack(shares, 1);
  if (columns.size() == 0) return result;
  if (torch::isfinite(columns.solver_error).any().item<bool>())
    result.solver_error = columns.solver_error;
  result.nfe = columns.nfe.mean().item<double>();
  result.kind = columns.weakest_kind();
  return result;
}

// Gains are measured against h = 0, the ODE, or else the first h.
void choose_hbar(const std::vector<double>& hbars, MetricReport& report) {
  const auto zero = std::find(hbars.begin(), hbars.end(), 0.0);
  const auto reference = zero == hbars.end() ? 0 : zero - hbars.begin();
  std::vector<torch::Tensor> nats;
  for (const MetricResult& result : report.results) nats.push_back(result.nats);
  const auto all = torch::stack(nats);
  if (!torch::isfinite(all).all(0).any().item<bool>()) return;  // each h counts what failed
  report.best = diffusion::best_hbar(hbars, all, reference);
  report.best_reference = hbars[static_cast<size_t>(reference)];
}

MetricReport evaluate_metric(const std::string& name, const Metric& metric,
                             const score::ScoreModel& model, data::ImageDataset& dataset, int64_t n,
                             const EvaluationOptions& options, comm::Communicator& comm) {
  const auto start = comm::Clock::now();
  std::mutex reading;
  score::ScoreModel used = model;
  if (metric.float32) used.compute_dtype = torch::kFloat32;
  const ResultRows layout(metric.terms);
  const auto compute = [&](int64_t first, int64_t count) {
    if (comm::seconds_since(start) > options.time_budget_s)
      return torch::stack(
          std::vector<torch::Tensor>(static_cast<size_t>(metric.results()), layout.left_out(count)),
          1);
    const auto slots = slot_range(first, count);
    const data::Batch batch = read_one_at_a_time(dataset, slots, reading);
    return rows_of_batch(metric, layout, used, score::told_of_batch(used, dataset, batch), batch,
                         score::model_input(used, dataset, batch), dataset.where());
  };
  const auto rows =
      rows_over_ranks(comm, n, {metric.results(), layout.width()}, options.batch, compute);
  MetricReport report;
  report.name = name;
  report.separate_terms = metric.separate_terms;
  report.windows = metric.windows;
  report.solver = metric.solver;
  report.seconds = comm::seconds_since(start);
  for (int64_t i = 0; i < metric.results(); ++i)
    report.results.push_back(
        result_of(metric, static_cast<size_t>(i), layout.unpack(rows.select(1, i))));
  if (options.hbar.best && !metric.hbars.empty()) choose_hbar(metric.hbars, report);
  return report;
}

void check_options(const EvaluationOptions& options) {
  const auto none_starts_with = [&](const std::vector<std::string>& beginnings) {
    for (const auto& name : options.metrics) {
      for (const auto& beginning : beginnings)
        if (name.starts_with(beginning)) return false;
    }
    return true;
  };
  if (options.wkb.profile > 0 && none_starts_with({"wkb"})) {
    throw ConfigError("--wkb-profile: wkb is not asked for. Add it to --metrics.");
  }
  if ((options.solver.name != "auto" || options.solver.tolerance > 0) &&
      none_starts_with({"ode"})) {
    throw ConfigError(
        "--solver, --tolerance: of ode, which is not asked for. Add it to --metrics.");
  }
  if (!options.hbar.schedule.empty() &&
      none_starts_with({"hbar-", "wkb", "w2", "fd", "kid", "pr"})) {
    throw ConfigError(
        "--hbar-schedule: no metric asked for has a noise knob. Add hbar-elbo, hbar-iw, wkb or one "
        "of samples (w2, fd, kid, pr) to --metrics.");
  }
  if (options.hbar.best && none_starts_with({"hbar-"})) {
    throw ConfigError(
        "--best-hbar: no metric over --hbar is asked for. Add hbar-elbo or hbar-iw to --metrics.");
  }
}

void check_dims(const score::ScoreModel& model, const data::ImageDataset& dataset) {
  if (model.is_analytic() && model.analytic().mixture->dims() != dataset.dims()) {
    throw ShapeError(model.name + ": a mixture in " +
                     std::to_string(model.analytic().mixture->dims()) + " dimensions, but " +
                     dataset.path() + " has examples of " + std::to_string(dataset.dims()) +
                     ". Give data of as many dimensions.");
  }
}

}  // namespace

diffusion::Decoder decoder_for(const std::string& name, int64_t levels) {
  using diffusion::Decoder;
  const Decoder discrete(Decoder::discrete, levels);
  if (name == "auto") return levels > 0 ? discrete : Decoder(Decoder::flat);
  const Decoder named = diffusion::decoder_from_name(name);
  if (named.kind != Decoder::discrete) return named;
  if (levels == 0) {
    throw ConfigError(
        "eval.decoder = \"discrete\": it is for data of levels, and this data is continuous. Use "
        "auto, flat or tweedie.");
  }
  return discrete;
}

EvaluationReport evaluate(const score::ScoreModel& model, data::ImageDataset& dataset,
                          const EvaluationOptions& options, comm::Communicator& comm) {
  check_dims(model, dataset);
  score::check_transforms(model, dataset);
  const auto check = [&] {
    data::check_fit(score::expected_data(model), dataset, options.n);
    return std::string();
  };
  comm::on_rank_zero(comm, check, "check of the data");
  check_options(options);
  const int64_t levels = dataset.levels();
  const MetricRequest request{model, levels, decoder_for(options.decoder, levels), options};
  std::vector<std::pair<std::string, Metric>> metrics;  // all first: a wrong one costs no hours
  std::vector<std::string> of_samples;
  for (const auto& name : options.metrics) {
    if (is_sample_metric(name)) {
      of_samples.push_back(name);
    } else {
      metrics.emplace_back(name, find_metric(name, request));
    }
  }
  EvaluationReport report;
  report.network = model.name;
  report.data = dataset.path();
  report.split = dataset.split();
  report.dims = dataset.dims();
  report.seed = options.seed;
  report.world_size = comm.size();
  report.discrete = levels > 0;
  report.transformed = !model.transforms.empty();
  report.hbar_schedule = options.hbar.schedule;
  report.n = options.n > 0 ? std::min(options.n, dataset.size()) : dataset.size();
  for (const auto& [name, metric] : metrics)
    report.metrics.push_back(
        evaluate_metric(name, metric, model, dataset, report.n, options, comm));
  if (!options.samples.save_reference.empty() && comm.rank() == 0)
    save_reference(dataset, report.n, options, model.device);
  if (!of_samples.empty())
    report.sample_metrics =
        evaluate_sample_metrics(of_samples, model, dataset, report.n, options, comm);
  return report;
}

}  // namespace scorenet::evaluate
