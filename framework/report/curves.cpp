#include "framework/report/curves.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace scorenet::report {
namespace {

constexpr const char* kImages = "thousands of images";

Figure over_images(const std::vector<RunRecord>& runs, const char* title, const char* y,
                   const char* field, bool may_be_log) {
  Figure figure{title, kImages, y, {}, may_be_log};
  for (size_t i = 0; i < runs.size(); ++i) {
    Series series{runs[i].name, i, {}};
    for (const auto& tick : runs[i].ticks) {
      series.points.emplace_back(runs[i].kimg(tick["step"].get<int64_t>()), number_of(tick, field));
    }
    figure.series.push_back(std::move(series));
  }
  return figure;
}

// The titles of metrics that evaluations are known to write; others have their name in the legend.
const std::map<std::string, const char*>& known_titles() {
  static const std::map<std::string, const char*> titles = {
      {"elbo_bits_per_dim", "Bound on held-out data (elbo)"},
      {"elbo_nats", "Bound on held-out data (elbo)"},
      {"cross_entropy", "Cross-entropy on held-out data"},
      {"accuracy", "Accuracy on held-out data"},
      {"accuracy_clean", "Accuracy on clean held-out data"}};
  return titles;
}

bool ends_with_nats_beside_bits(const std::string& name, const std::set<std::string>& names) {
  const std::string nats = "_nats";
  return name.ends_with(nats) &&
         names.count(name.substr(0, name.size() - nats.size()) + "_bits_per_dim") > 0;
}

const char* unit_of(const std::string& name) {
  return name.ends_with("_bits_per_dim") ? "bits per dimension"
         : name.ends_with("_nats")       ? "nats"
                                         : "value";
}

// The mean over ticks first..last of the loss in each bin, as stairs over log-SNR from noisy to
// clean. Ticks whose range is another (a learned schedule's moves) are laid on the last one's.
std::vector<std::pair<double, double>> stairs_of(const std::vector<nlohmann::json>& ticks,
                                                 size_t first, size_t last) {
  std::vector<double> sums, counts;
  double clean = 0, noisy = 0;
  for (size_t i = first; i < last; ++i) {
    const auto bins = ticks[i].find("loss_by_log_snr"), range = ticks[i].find("log_snr");
    if (bins == ticks[i].end() || range == ticks[i].end() || !bins->is_array() ||
        !range->is_array() || range->size() != 2 || !(*range)[0].is_number() ||
        !(*range)[1].is_number())
      continue;
    clean = (*range)[0].get<double>();
    noisy = (*range)[1].get<double>();
    sums.resize(bins->size());
    counts.resize(bins->size());
    for (size_t b = 0; b < bins->size(); ++b) {
      if (!(*bins)[b].is_number()) continue;
      sums[b] += (*bins)[b].get<double>();
      counts[b] += 1;
    }
  }
  std::vector<std::pair<double, double>> points;
  const auto n = static_cast<double>(sums.size());
  for (size_t b = sums.size(); b-- > 0;) {
    const double left = clean + (noisy - clean) * static_cast<double>(b + 1) / n;
    const double mean = counts[b] > 0 ? sums[b] / counts[b] : std::nan("");
    points.emplace_back(left, mean);
    if (b == 0) points.emplace_back(clean, mean);
  }
  return points;
}

}  // namespace

std::vector<Figure> training_figures(const std::vector<RunRecord>& runs) {
  return {over_images(runs, "Training loss", "nats per dimension, weighted", "loss", true),
          over_images(runs, "Gradient norm before clipping", "norm", "grad_norm", true),
          over_images(runs, "Learning rate", "learning rate", "learning_rate", false),
          over_images(runs, "Speed, all ranks", "images per second", "images_per_sec", false)};
}

std::vector<Figure> metric_figures(const std::vector<RunRecord>& runs) {
  std::set<std::string> names;
  for (const RunRecord& run : runs)
    for (const auto& [name, values] : run.metrics) names.insert(name);
  std::vector<Figure> figures;
  for (const std::string& name : names) {
    if (ends_with_nats_beside_bits(name, names)) continue;
    const auto known = known_titles().find(name);
    Figure figure{known == known_titles().end() ? "Held-out data" : known->second,
                  kImages,
                  unit_of(name),
                  {}};
    for (size_t i = 0; i < runs.size(); ++i) {
      const auto values = runs[i].metrics.find(name);
      if (values == runs[i].metrics.end()) continue;
      Series series{runs[i].name + (known == known_titles().end() ? ": " + name : ""), i, {}};
      series.dots = true;
      for (const auto& [step, value] : values->second)
        series.points.emplace_back(runs[i].kimg(step), value);
      std::sort(series.points.begin(), series.points.end());
      figure.series.push_back(std::move(series));
    }
    figures.push_back(std::move(figure));
  }
  return figures;
}

Figure loss_over_log_snr(const std::vector<RunRecord>& runs) {
  Figure figure{
      "Loss over log-SNR", "log-SNR (right: clean)", "nats per dimension, weighted", {}, true};
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto& ticks = runs[i].ticks;
    const size_t fifth = std::max<size_t>(ticks.size() / 5, 1);
    if (ticks.empty()) continue;
    const std::string part = runs.size() == 1 ? ", last fifth of the run" : "";
    figure.series.push_back(
        {runs[i].name + part, i, stairs_of(ticks, ticks.size() - fifth, ticks.size()), true});
    if (runs.size() == 1 && ticks.size() >= 5)
      figure.series.push_back(
          {runs[i].name + ", first fifth", i + 1, stairs_of(ticks, 0, fifth), true});
  }
  return figure;
}

Figure schedule_figure(const std::vector<RunRecord>& runs, const ScheduleCurve& curve) {
  Figure figure{"Schedule", "t (0: data, 1: noise)", "log-SNR", {}};
  for (size_t i = 0; i < runs.size(); ++i) {
    if (!runs[i].config) continue;
    const auto& options = runs[i].config->diffusion.schedule;
    figure.series.push_back({runs[i].name + ": " + options.name, i, curve(options)});
  }
  return figure;
}

}  // namespace scorenet::report
