#include "framework/train/metrics_log.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "framework/core/error.hpp"
#include "framework/core/utc_time.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::train {
namespace {

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

// Rewrites a log with the lines that are wanted alone; whole or not at all, as it may be all that
// is known of a run.
void keep_lines(const std::filesystem::path& path,
                const std::function<bool(const std::string&)>& wanted) {
  std::ifstream in(path);
  if (!in) return;
  std::string kept, line;
  bool all = true;
  while (std::getline(in, line)) {
    const bool torn = in.eof();
    if (!torn && wanted(line))
      kept += line + "\n";
    else
      all = false;
  }
  in.close();
  if (!all) files::write_file_atomically(path, kept);
}

constexpr int64_t kTornLine = std::numeric_limits<int64_t>::max();

int64_t stats_step(const std::string& line) {
  const auto object = nlohmann::json::parse(line, nullptr, false);
  const auto step = object.is_object() ? object.find("step") : object.end();
  return step != object.end() && step->is_number_integer() ? step->get<int64_t>() : kTornLine;
}

int64_t metrics_step(const std::string& line) {
  if (line.starts_with("step,")) return 0;
  char* end = nullptr;
  const long long step = std::strtoll(line.c_str(), &end, 10);
  return end && *end == ',' ? step : kTornLine;
}

// The names that a tick writes; others are an evaluation's.
constexpr std::array<const char*, 3> kTickNames = {"loss", "grad_norm", "images_per_sec"};

// Whether a line of metrics.csv is a number of the evaluation at this step.
bool is_of_evaluation(const std::string& line, int64_t step) {
  const std::string start = std::to_string(step) + ",";
  if (!line.starts_with(start)) return false;
  const std::string name = line.substr(start.size(), line.find(',', start.size()) - start.size());
  return std::find(kTickNames.begin(), kTickNames.end(), name) == kTickNames.end();
}

std::ofstream open_for_append(const std::filesystem::path& path) {
  std::ofstream out(path, std::ios::app);
  if (!out)
    throw CheckpointError(path.string() +
                          ": cannot be written. Check the permissions of the run folder.");
  return out;
}

std::string status_line(const Tick& t) {
  return "step " + std::to_string(t.step) + "  kimg " + format("%.1f", t.kimg) + "  time " +
         duration_text(t.total_sec) + "  loss " + format("%.4f", t.loss) + "  gradnorm " +
         format("%.3f", t.grad_norm) + "  lr " + format("%.2e", t.learning_rate) + "  img/s " +
         format("%.1f", t.images_per_sec) + "  sec/kimg " + format("%.2f", t.sec_per_kimg) +
         "  maintenance " + format("%.1f", t.maintenance_sec) + "  data% " +
         format("%.1f", 100 * t.data_wait_frac) + "  comm% " +
         format("%.1f", 100 * t.comm_exposed_frac) + "  skipped " + std::to_string(t.skipped) +
         "  cpumem " + format("%.2f", t.cpu_mem_gb) + "  gpumem " + format("%.2f", t.gpu_mem_gb) +
         "  eta " + duration_text(t.eta_sec);
}

}  // namespace

std::string duration_text(double seconds) {
  const auto s = static_cast<long long>(std::max(0.0, seconds) + 0.5);
  char text[64];
  if (s >= 86400) {
    std::snprintf(text, sizeof text, "%lldd %02lldh %02lldm", s / 86400, s / 3600 % 24,
                  s / 60 % 60);
  } else if (s >= 3600) {
    std::snprintf(text, sizeof text, "%lldh %02lldm %02llds", s / 3600, s / 60 % 60, s % 60);
  } else {
    std::snprintf(text, sizeof text, "%lldm %02llds", s / 60, s % 60);
  }
  return text;
}

nlohmann::ordered_json to_json(const Tick& t) {
  nlohmann::ordered_json out = {{"step", t.step},
                                {"kimg", t.kimg},
                                {"loss", t.loss},
                                {"grad_norm", t.grad_norm},
                                {"learning_rate", t.learning_rate},
                                {"images_per_sec", t.images_per_sec},
                                {"sec_per_kimg", t.sec_per_kimg},
                                {"sec_per_tick", t.sec_per_tick},
                                {"maintenance_sec", t.maintenance_sec},
                                {"data_wait_frac", t.data_wait_frac},
                                {"comm_exposed_frac", t.comm_exposed_frac},
                                {"skipped", t.skipped},
                                {"cpu_mem_gb", t.cpu_mem_gb},
                                {"gpu_mem_gb", t.gpu_mem_gb},
                                {"total_sec", t.total_sec},
                                {"eta_sec", t.eta_sec}};
  for (int i = 0; i < 4; ++i) {  // JSON has no NaN: an empty quarter is null
    const double q = t.loss_quartile[i];
    out["loss_q" + std::to_string(i)] =
        std::isfinite(q) ? nlohmann::ordered_json(q) : nlohmann::ordered_json();
  }
  out["log_snr"] = {t.log_snr_clean, t.log_snr_noisy};
  out["loss_by_log_snr"] = nlohmann::ordered_json::array();
  for (const double loss : t.loss_by_level)
    out["loss_by_log_snr"].push_back(std::isfinite(loss) ? nlohmann::ordered_json(loss)
                                                         : nlohmann::ordered_json());
  out["phase_sec"] = nlohmann::ordered_json::object();
  for (const auto& [phase, seconds] : t.phase_sec) out["phase_sec"][phase] = seconds;
  out["straggler"] = nullptr;
  if (t.straggler_rank >= 0) {
    out["straggler"] = {{"rank", t.straggler_rank},
                        {"phase", t.straggler_phase},
                        {"sec", t.straggler_sec},
                        {"median_sec", t.straggler_median_sec}};
  }
  out["timestamp"] = utc_time_now();
  return out;
}

std::string log_field_legend() {
  return "step               optimizer steps so far\n"
         "kimg               thousands of images trained on so far, all ranks together\n"
         "loss               mean loss of the tick, nats per dimension, weighted as diffusion.loss "
         "says\n"
         "loss_q0..loss_q3   the same over each quarter of the log-SNR range, cleanest images "
         "first\n"
         "log_snr            log-SNR of the schedule's cleanest and noisiest time\n"
         "loss_by_log_snr    the loss over each of equal intervals between the two, cleanest "
         "first; null: no image fell there\n"
         "grad_norm          global gradient norm before clipping, mean over the tick (status "
         "line: gradnorm)\n"
         "learning_rate      of the tick's last step (lr)\n"
         "images_per_sec     all ranks together, without maintenance (img/s)\n"
         "sec_per_kimg       seconds for a thousand images, without maintenance (sec/kimg)\n"
         "sec_per_tick       seconds since the last status line, without maintenance\n"
         "maintenance_sec    seconds spent on checkpoints, evaluation and logs since the last line "
         "(maintenance)\n"
         "data_wait_frac     share of the step time spent waiting for images (data%)\n"
         "comm_exposed_frac  share of the step time spent waiting for other ranks and traffic "
         "(comm%)\n"
         "phase_sec          rank zero's mean seconds a step waiting for data, in forward, "
         "backward, the weights' update, on the host (draws) and in communication\n"
         "straggler          rank and phase that hold the others up (comm.straggler_excess), with "
         "its and the median rank's seconds a step; null: none\n"
         "skipped            steps left out so far: a loss or gradient was not finite, or a spike "
         "(train.on_spike = skip)\n"
         "cpu_mem_gb         resident memory of rank zero, 10^9 bytes (cpumem)\n"
         "gpu_mem_gb         peak GPU memory of rank zero, 10^9 bytes (gpumem)\n"
         "total_sec          wall clock of the run, over all restarts (time)\n"
         "eta_sec            seconds left at the present speed (eta)\n"
         "timestamp          UTC\n";
}

MetricsLog::MetricsLog(const RunFolder& folder, int64_t resumed_step, int64_t total_steps, bool bar)
    : paths_{folder.log(), folder.stats(), folder.metrics()}, total_steps_(total_steps), bar_(bar) {
  const auto until_here = [resumed_step](int64_t (*step_of)(const std::string&)) {
    return [=](const std::string& line) { return step_of(line) <= resumed_step; };
  };
  keep_lines(folder.stats(), until_here(stats_step));
  keep_lines(folder.metrics(), until_here(metrics_step));
  log_ = open_for_append(folder.log());
  stats_ = open_for_append(folder.stats());
  const bool fresh = !std::filesystem::exists(folder.metrics()) ||
                     std::filesystem::file_size(folder.metrics()) == 0;
  metrics_ = open_for_append(folder.metrics());
  if (fresh) metrics_ << "step,name,value\n" << std::flush;
}

// What the run's own files do not take is an error, as at a save: a log with holes
// would be believed.
void MetricsLog::check_written() const {
  const std::pair<const std::ofstream*, const std::filesystem::path*> files[] = {
      {&log_, &paths_[0]}, {&stats_, &paths_[1]}, {&metrics_, &paths_[2]}};
  for (const auto& [stream, path] : files) {
    if (stream->good()) continue;
    throw CheckpointError(
        path->string() +
        ": cannot be written to its end (a full disk, or a limit on the size of files). Free some "
        "space; the same command continues from the last checkpoint.");
  }
}

void MetricsLog::clear_bar() {
  if (bar_drawn_) std::cerr << "\r\033[K";
  bar_drawn_ = false;
}

void MetricsLog::line(const std::string& text) {
  clear_bar();
  std::cout << text << std::endl;
  log_ << text << std::endl;
  check_written();
}

void MetricsLog::tick(const Tick& tick) {
  line(status_line(tick));
  stats_ << to_json(tick).dump() << std::endl;
  check_written();
  const double values[] = {tick.loss, tick.grad_norm, tick.images_per_sec};
  for (size_t i = 0; i < kTickNames.size(); ++i) write_metric(tick.step, kTickNames[i], values[i]);
  if (tensorboard_) tensorboard_->tick(tick);
}

void MetricsLog::metric(int64_t step, const std::string& name, double value) {
  write_metric(step, name, value);
  if (tensorboard_) tensorboard_->evaluation_value(name, value);
}

void MetricsLog::grid(const std::filesystem::path& path, const std::string& weights) {
  if (tensorboard_) tensorboard_->evaluation_grid(path, weights);
}

void MetricsLog::evaluation_is_whole(int64_t step) {
  if (tensorboard_) tensorboard_->evaluation_is_whole(step);
}

void MetricsLog::open_tensorboard(const RunFolder& folder, int64_t resumed_step,
                                  const std::string& config, bool changed) {
  tensorboard_.emplace(folder, resumed_step, config, changed,
                       [this](const std::string& sentence) { line(sentence); });
}

void MetricsLog::write_metric(int64_t step, const std::string& name, double value) {
  metrics_ << step << ',' << name << ',' << format("%.17g", value) << std::endl;
  check_written();
}

bool MetricsLog::has_evaluation(int64_t step) const {
  std::ifstream in(paths_[2]);
  for (std::string line; std::getline(in, line);)
    if (is_of_evaluation(line, step)) return true;
  return false;
}

void MetricsLog::forget_evaluation(int64_t step) {
  metrics_.close();
  keep_lines(paths_[2], [step](const auto& line) { return !is_of_evaluation(line, step); });
  metrics_ = open_for_append(paths_[2]);
}

void MetricsLog::progress(int64_t step, double images_per_sec, double loss, double eta_sec) {
  const auto now = std::chrono::steady_clock::now();
  if (!bar_ || now - last_drawn_ < std::chrono::milliseconds(200)) return;
  last_drawn_ = now;
  constexpr int kWidth = 30;
  const int done = static_cast<int>(kWidth * step / std::max<int64_t>(total_steps_, 1));
  std::string bar(static_cast<size_t>(done), '#');
  bar.resize(kWidth, '.');
  std::cerr << "\r\033[K[" << bar << "] " << step << '/' << total_steps_ << "  "
            << format("%.1f", images_per_sec) << " img/s  loss " << format("%.4f", loss) << "  eta "
            << duration_text(eta_sec) << std::flush;
  bar_drawn_ = true;
}

double resident_memory_gb() {
  std::ifstream statm("/proc/self/statm");
  double total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) * 1e-9;
}

}  // namespace scorenet::train
