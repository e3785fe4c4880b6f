#include "framework/train/tensorboard_log.hpp"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/dashboard/event.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/train/metrics_log.hpp"

namespace scorenet::train {
namespace {

// The card that a field of stats.jsonl stands on.
std::string tag_of(const std::string& field) {
  static const std::map<std::string, std::string> kOthers = {
      {"images_per_sec", "time"},  {"sec_per_kimg", "time"},   {"sec_per_tick", "time"},
      {"maintenance_sec", "time"}, {"data_wait_frac", "time"}, {"comm_exposed_frac", "time"},
      {"total_sec", "time"},       {"eta_sec", "time"},        {"cpu_mem_gb", "memory"},
      {"gpu_mem_gb", "memory"}};
  const auto other = kOthers.find(field);
  return (other == kOthers.end() ? "train" : other->second) + "/" + field;
}

// Every number of the tick but its step; what is null is left out.
std::vector<std::string> scalars_of(const Tick& tick) {
  std::vector<std::string> values;
  const auto fields = to_json(tick);
  for (const auto& [field, value] : fields.items()) {
    if (value.is_number() && field != "step")
      values.push_back(dashboard::scalar_value(tag_of(field), value.get<double>()));
  }
  for (const auto& [phase, seconds] : tick.phase_sec)
    values.push_back(dashboard::scalar_value("step_seconds/" + phase, seconds));
  return values;
}

// A bar for each bin of log-SNR, as high as its mean loss. Edges rise: from noisy to clean.
std::string loss_over_log_snr(const Tick& tick) {
  std::vector<double> edges, heights;
  for (int64_t i = 0; i <= kLevelBins; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(kLevelBins);
    edges.push_back(tick.log_snr_noisy + share * (tick.log_snr_clean - tick.log_snr_noisy));
  }
  for (int64_t bin = kLevelBins - 1; bin >= 0; --bin) {
    const double loss = tick.loss_by_level[bin];  // some losses may be negative; no bar can
    heights.push_back(std::isfinite(loss) ? std::max(loss, 0.0) : 0.0);
  }
  return dashboard::histogram_value("loss_over_log_snr", edges, heights);
}

// TensorBoard takes a text for Markdown, in which four spaces begin code.
std::string as_code(const std::string& text) {
  std::string out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out += "    " + line + "\n";
  return out;
}

}  // namespace

TensorBoardLog::TensorBoardLog(const RunFolder& folder, int64_t resumed_step,
                               const std::string& config, bool changed, Tell tell,
                               files::FileLayer& layer)
    : tell_(std::move(tell)) {
  attempt([&] {
    file_.emplace(folder.root(), resumed_step, layer);
    if (!file_->is_first() && !changed) return;
    // A later start's holds from the step on that it begins with: the same start made again
    // replaces it.
    const int64_t step = file_->is_first() ? 0 : resumed_step + 1;
    file_->add(step, {dashboard::text_value("config", as_code(config))});
  });
}

void TensorBoardLog::attempt(const std::function<void()>& work) {
  try {
    work();
  } catch (const files::FileError& error) {
    file_.reset();
    tell_(std::string(error.what()) +
          " No more events for TensorBoard in this start; stats.jsonl and metrics.csv go on.");
  }
}

void TensorBoardLog::tick(const Tick& tick) {
  if (!file_) return;
  std::vector<std::string> values = scalars_of(tick);
  if (tick.log_snr_clean > tick.log_snr_noisy) values.push_back(loss_over_log_snr(tick));
  attempt([&] { file_->add(tick.step, values); });
}

void TensorBoardLog::evaluation_value(const std::string& name, double value) {
  if (file_) evaluation_.push_back(dashboard::scalar_value("eval/" + name, value));
}

void TensorBoardLog::evaluation_grid(const std::filesystem::path& grid,
                                     const std::string& weights) {
  if (!file_) return;
  const std::string tag = weights.empty() ? "samples/average" : "samples/raw";
  attempt([&] { evaluation_.push_back(dashboard::image_value(tag, files::read_file(grid))); });
}

void TensorBoardLog::evaluation_is_whole(int64_t step) {
  const std::vector<std::string> values = std::exchange(evaluation_, {});
  if (file_ && !values.empty()) attempt([&] { file_->add(step, values); });
}

}  // namespace scorenet::train
