#include "framework/report/tables.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "framework/config/fields.hpp"
#include "framework/config/parse.hpp"
#include "framework/train/metrics_log.hpp"

namespace scorenet::report {
namespace {

using nlohmann::json;
using Rows = std::vector<std::vector<Html>>;

std::vector<Html> head_of(const std::vector<RunRecord>& runs, const char* first) {
  std::vector<Html> head = {Html(first)};
  for (const RunRecord& run : runs) head.push_back(text(run.name));
  return head;
}

// A row whose cells are made for each run; none if all are empty.
template <typename Cell>
void add_row(Rows& rows, const Html& name, const std::vector<RunRecord>& runs, const Cell& cell) {
  std::vector<Html> row = {name};
  bool any = false;
  for (const RunRecord& run : runs) {
    row.push_back(cell(run));
    any = any || !row.back().code.empty();
  }
  if (any) rows.push_back(std::move(row));
}

Html start_line(const RunRecord& run, const std::string& name) {
  for (const auto& [its_name, its_text] : run.start)
    if (its_name == name) return text(its_text);
  return {};
}

double last_number(const RunRecord& run, const std::string& field) {
  return run.ticks.empty() ? std::nan("") : number_of(run.ticks.back(), field);
}

Html last_metric(const RunRecord& run) {
  for (const char* name : {"elbo_bits_per_dim", "elbo_nats", "cross_entropy"}) {
    const auto values = run.metrics.find(name);
    if (values == run.metrics.end() || values->second.empty()) continue;
    const auto& [step, value] = values->second.back();
    return number(value) + text(" " + std::string(name) + " at step " + std::to_string(step));
  }
  return {};
}

// "prior 0.001, diffusion 3.1": numbers in a metric's terms.
std::string terms_of(const json& metric) {
  const auto terms = metric.find("terms");
  if (terms == metric.end() || !terms->is_object()) return "";
  std::string out;
  for (const auto& [name, value] : terms->items()) {
    if (value.is_number())
      out += (out.empty() ? "" : ", ") + name + " " + number(value.get<double>()).code;
  }
  return out;
}

Html with_error(double value, double error) {
  if (!std::isfinite(value)) return {};
  return number(value, 6) + (std::isfinite(error) ? Html(" &plusmn; ") + number(error, 2) : Html());
}

// Bits are of discrete data: nats / (dims log 2).
Html bits_of(const json& metric, double dims) {
  const double bits = number_of(metric, "bits_per_dim");
  return with_error(bits, number_of(metric, "nats_stderr") / (dims * std::log(2.0)));
}

std::string text_field(const json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// Comparisons of samples have no likelihood: what numbers they have.
std::string other_numbers(const json& metric) {
  if (metric.contains("nats_mean")) return terms_of(metric);
  std::string out;
  for (const auto& [name, value] : metric.items()) {
    const bool is_cost = name == "n" || name == "nfe" || name == "seconds" || name == "levels";
    if (value.is_number() && !is_cost)
      out += (out.empty() ? "" : ", ") + name + " " + number(value.get<double>()).code;
  }
  return out;
}

std::vector<Html> metric_row(const RunRecord& run, const EvaluationRecord& evaluation,
                             const std::string& name, const json& metric, double hbar) {
  const std::string h = std::isfinite(hbar) ? ", h = " + number(hbar).code : "";
  const auto cost = [&](const char* field) { return number(number_of(metric, field)); };
  return {text(name + h),
          text(run.name + "/" + evaluation.file),
          text(text_field(metric, "kind")),
          bits_of(metric, number_of(evaluation.report, "dims")),
          with_error(number_of(metric, "nats_mean"), number_of(metric, "nats_stderr")),
          text(other_numbers(metric)),
          cost("n"),
          cost("nfe"),
          cost("seconds")};
}

void add_metrics(const RunRecord& run, const EvaluationRecord& evaluation, Rows& rows) {
  const auto metrics = evaluation.report.find("metrics");
  if (metrics == evaluation.report.end() || !metrics->is_object()) return;
  for (const auto& [name, metric] : metrics->items()) {
    if (!metric.is_object()) continue;
    const auto over_h = metric.find("per_hbar");
    if (over_h == metric.end() || !over_h->is_array()) {
      rows.push_back(metric_row(run, evaluation, name, metric, std::nan("")));
      continue;
    }
    for (const json& one : *over_h)
      rows.push_back(metric_row(run, evaluation, name, one, number_of(one, "hbar")));
  }
}

using Phases = std::vector<std::pair<std::string, double>>;

// Mean seconds a step in each phase over the second half of the ticks.
Phases phases_of(const RunRecord& run) {
  std::map<std::string, std::pair<double, int>> sums;
  for (size_t i = run.ticks.size() / 2; i < run.ticks.size(); ++i) {
    const auto phases = run.ticks[i].find("phase_sec");
    if (phases == run.ticks[i].end() || !phases->is_object()) continue;
    for (const auto& [name, seconds] : phases->items()) {
      if (!seconds.is_number()) continue;
      sums[name].first += seconds.get<double>();
      sums[name].second += 1;
    }
  }
  Phases phases;
  for (const auto& [name, sum] : sums) phases.emplace_back(name, sum.first / sum.second);
  return phases;
}

double total_of(const Phases& phases) {
  double total = 0;
  for (const auto& phase : phases) total += phase.second;
  return total;
}

Html bar(double share) {
  char width[64];
  std::snprintf(width, sizeof width, "<b class=\"bar\" style=\"width:%.1f%%\"></b>",
                100 * std::clamp(share, 0.0, 1.0));
  return Html(width);
}

Html phase_cell(const Phases& phases, const std::string& name) {
  const double total = total_of(phases);
  for (const auto& [its_name, seconds] : phases) {
    if (its_name != name || !(total > 0)) continue;
    return number(1000 * seconds) + Html(" ms, ") + number(100 * seconds / total, 3) + Html(" %") +
           bar(seconds / total);
  }
  return {};
}

using Values = std::map<std::string, std::string>;

Values values_of(const config::Config& config) {
  config::Config copy = config;
  Values values;
  for (const config::Field& field : config::fields(copy))
    values[field.name] = config::value_string(field);
  return values;
}

std::string value_in(const Values& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? "" : found->second;
}

}  // namespace

Html summary_table(const std::vector<RunRecord>& runs) {
  Rows rows;
  for (const char* name : {"data", "values", "transforms", "network", "diffusion", "ranks", "batch",
                           "precision", "gradients", "duration"}) {
    add_row(rows, Html(name), runs, [&](const RunRecord& run) { return start_line(run, name); });
  }
  const auto last = [&](const char* name, const char* field, const char* unit) {
    add_row(rows, Html(name), runs, [&](const RunRecord& run) {
      const double value = last_number(run, field);
      const bool is_there = std::isfinite(value) && (value != 0 || std::string(unit) != " GB");
      return is_there ? number(value) + Html(unit) : Html();
    });
  };
  last("steps done", "step", "");
  last("images", "kimg", " thousand");
  last("loss, last", "loss", "");
  add_row(rows, Html("held-out, last"), runs, last_metric);
  last("speed, last", "images_per_sec", " images/s");
  add_row(rows, Html("time"), runs, [](const RunRecord& run) {
    const double seconds = last_number(run, "total_sec");
    return std::isfinite(seconds) ? text(train::duration_text(seconds)) : Html();
  });
  last("memory", "cpu_mem_gb", " GB");
  last("GPU memory", "gpu_mem_gb", " GB");
  last("steps left out", "skipped", "");
  return table(head_of(runs, "run"), rows);
}

Html likelihood_table(const std::vector<RunRecord>& runs) {
  Rows rows;
  for (const RunRecord& run : runs) {
    const EvaluationRecord* newest = nullptr;
    for (const EvaluationRecord& evaluation : run.evaluations) {
      if (evaluation.step >= 0 && (!newest || evaluation.step >= newest->step))
        newest = &evaluation;
    }
    if (newest) add_metrics(run, *newest, rows);
    for (const EvaluationRecord& evaluation : run.evaluations)
      if (evaluation.step < 0) add_metrics(run, evaluation, rows);
  }
  std::vector<Html> head;
  for (const char* name : {"metric", "report", "kind", "bits/dim", "nats", "parts", "examples",
                           "network calls", "seconds"})
    head.push_back(Html(name));
  return table(head, rows);
}

Html step_time_table(const std::vector<RunRecord>& runs) {
  std::vector<Phases> all;
  std::set<std::string> names;
  for (const RunRecord& run : runs) {
    all.push_back(phases_of(run));
    for (const auto& phase : all.back()) names.insert(phase.first);
  }
  Rows rows;
  for (const std::string& name : names) {
    std::vector<Html> row = {text(name)};
    for (const Phases& phases : all) row.push_back(phase_cell(phases, name));
    rows.push_back(std::move(row));
  }
  const auto share = [&](const char* name, const char* field) {
    add_row(rows, Html(name), runs, [&](const RunRecord& run) {
      const double value = last_number(run, field);
      return std::isfinite(value) ? number(100 * value, 3) + Html(" %") : Html();
    });
  };
  share("waiting for images, all ranks", "data_wait_frac");
  share("waiting for other ranks and traffic, all ranks", "comm_exposed_frac");
  return table(head_of(runs, "a step of rank zero"), rows);
}

Html versions_table(const std::vector<RunRecord>& runs) {
  Rows rows;
  for (const char* name : {"program", "ranks", "precision", "saves", "time limits"})
    add_row(rows, Html(name), runs, [&](const RunRecord& run) { return start_line(run, name); });
  add_row(rows, Html("first line"), runs, [](const RunRecord& run) {
    return run.ticks.empty() ? Html() : text(text_field(run.ticks.front(), "timestamp"));
  });
  add_row(rows, Html("last line"), runs, [](const RunRecord& run) {
    return run.ticks.empty() ? Html() : text(text_field(run.ticks.back(), "timestamp"));
  });
  return table(head_of(runs, "start"), rows);
}

Html config_differences(const std::vector<RunRecord>& runs) {
  const Values defaults = values_of(config::Config());
  std::vector<Values> all;
  std::set<std::string> keys;
  for (const RunRecord& run : runs) {
    all.push_back(run.config ? values_of(*run.config) : Values());
    for (const auto& [key, value] : all.back()) keys.insert(key);
  }
  const bool one = runs.size() == 1;
  Rows rows;
  for (const std::string& key : keys) {
    const std::string first = one ? value_in(defaults, key) : value_in(all[0], key);
    const bool differs = std::any_of(all.begin(), all.end(), [&](const Values& values) {
      return value_in(values, key) != first;
    });
    if (!differs) continue;
    std::vector<Html> row = {text(key)};
    for (const Values& values : all) row.push_back(text(value_in(values, key)));
    row.push_back(text(value_in(defaults, key)));
    rows.push_back(std::move(row));
  }
  std::vector<Html> head = head_of(runs, "key");
  head.push_back(Html("default"));
  if (!rows.empty() || one) return table(head, rows);
  return element("p", Html("The configs are the same."));
}

Html whole_configs(const std::vector<RunRecord>& runs) {
  Html out;
  for (const RunRecord& run : runs) {
    if (!run.config) continue;
    Html changed;
    for (const config::Change& change : config::changes(*run.first_config, *run.config))
      changed += element("li", text(change.sentence()));
    if (!changed.code.empty()) {
      out += element("p", text(run.name) + Html(" changed between its starts:")) +
             element("ul", changed);
    }
    out += element("details", element("summary", Html("Whole config of ") + text(run.name)) +
                                  element("pre", text(config::to_toml(*run.config))));
  }
  return out;
}

Html missing_list(const std::vector<RunRecord>& runs) {
  Html items;
  for (const RunRecord& run : runs)
    for (const std::string& sentence : run.missing)
      items += element("li", text(run.name + ": " + sentence)) + Html("\n");
  return items.code.empty() ? items : element("ul", items, "missing");
}

}  // namespace scorenet::report
