#include "framework/train/training_report.hpp"

#include <ATen/DeviceAccelerator.h>
#include <unistd.h>

#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/host_name.hpp"
#include "framework/train/kept_config.hpp"

namespace scorenet::train {
namespace {

// What LibTorch has reserved on the device at most.
double peak_device_memory_gb(torch::Device device) {
  if (!device.is_cuda()) return 0;
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto stats = at::accelerator::getDeviceStats(device.index());
  return 1e-9 * static_cast<double>(stats.reserved_bytes[kAll].peak);
}

bool wants_bar(const std::string& progress) {
  return progress == "bar" || (progress == "auto" && isatty(STDERR_FILENO));
}

}  // namespace

TrainingReport::TrainingReport(const config::Config& config, const RunFolder& folder,
                               Learner& learner, comm::Communicators& comms)
    : config_(config),
      folder_(folder),
      learner_(learner),
      comms_(comms),
      total_steps_(config::total_steps(config.train)),
      meter_(config.train.batch_size) {}

void TrainingReport::open(const RunProgress& progress, const std::string& start) {
  if (comms_.host->rank() != 0) return;
  folder_.create();
  folder_.clear_temporaries();
  const auto changed = keep_config(folder_, config_, progress.step);
  bar_ = wants_bar(config_.run.progress);
  open_log(progress.step, !changed.empty());
  log_->line(start);
  // Before the first checkpoint the folder's config is all there is to compare with.
  for (size_t i = 0; progress.changes.empty() && i < changed.size(); ++i)
    log_->line("changed         " + changed[i]);
}

// changed: whether the config is another than that of the start before.
void TrainingReport::open_log(int64_t step, bool changed) {
  log_.emplace(folder_, step, total_steps_, bar_);
  if (config_.run.tensorboard)
    log_->open_tensorboard(folder_, step, config::to_toml(config_), changed);
}

void TrainingReport::line(const std::string& text) {
  if (log_) log_->line(text);
}

double TrainingReport::images_left(int64_t step) const {
  return static_cast<double>((total_steps_ - step) * config_.train.batch_size);
}

std::optional<StepReport> TrainingReport::measured_step(const data::LoadedBatch& batch,
                                                        RunProgress& progress,
                                                        const Wishes& wishes) {
  const auto& overlap = learner_.update.reducer().overlap();
  const bool was_tracing = learner_.step->clock().tracing();
  const bool was_decided = overlap.decided();
  const std::optional<StepReport> report = learner_.step->run(batch, progress.step, wishes);
  ++progress.step;
  comms_.vitals->step = progress.step;
  if (report) meter_.add(*report);
  if (const std::string note = learner_.step->take_note(); !note.empty())
    line("step " + std::to_string(progress.step) + ": " + note);
  if (was_tracing && !learner_.step->clock().tracing()) write_timeline();
  if (!was_decided && overlap.decided()) {
    line("step " + std::to_string(progress.step) + ": gradients travel " + overlap.describe());
  }
  if (log_) {
    const double speed = meter_.images_per_sec();
    log_->progress(progress.step, speed, meter_.mean_loss(), images_left(progress.step) / speed);
  }
  return report;
}

std::optional<StepReport> TrainingReport::settled() {
  const std::optional<StepReport> report = learner_.step->settle();
  if (report) meter_.add(*report);
  return report;
}

void TrainingReport::went_back(int64_t step) {
  meter_ = TickMeter(config_.train.batch_size);
  learner_.step->clock().take();
  if (log_) open_log(step, /*changed=*/false);
}

void TrainingReport::tick(const RunProgress& progress, double total_sec) {
  Tick tick = meter_.take();
  add_straggler(tick, progress.step);
  if (!log_) return;
  tick.step = progress.step;
  tick.kimg = static_cast<double>(progress.step * config_.train.batch_size) / 1000.0;
  tick.skipped = progress.skipped;
  const torch::NoGradGuard no_grad;
  const auto range = diffusion::log_snr_range(*learner_.model.schedule);
  tick.log_snr_clean = range.clean;
  tick.log_snr_noisy = range.noisy;
  tick.cpu_mem_gb = resident_memory_gb();
  tick.gpu_mem_gb = peak_device_memory_gb(learner_.model.device);
  tick.total_sec = total_sec;
  tick.eta_sec = images_left(progress.step) / tick.images_per_sec;
  log_->tick(tick);
}

// Collective.
void TrainingReport::add_straggler(Tick& tick, int64_t step) {
  const PhaseSeconds phases = learner_.step->clock().take();
  for (size_t p = 0; p < kStepPhases; ++p)
    tick.phase_sec.emplace_back(name(static_cast<StepPhase>(p)), phases[p]);
  const auto slow = find_straggler(phases, config_.comm.straggler_excess, *comms_.host);
  if (!slow) return;
  tick.straggler_rank = slow->rank;
  tick.straggler_phase = slow->phase;
  tick.straggler_sec = slow->seconds;
  tick.straggler_median_sec = slow->median_seconds;
  line("step " + std::to_string(step) + ": " + perf::describe(*slow));
}

void TrainingReport::write_timeline() const {
  const comm::Communicator& comm = *comms_.host;
  const auto path = folder_.timeline(comm.rank());
  std::error_code existing;
  std::filesystem::create_directories(path.parent_path(), existing);
  perf::write_timeline(
      path, {comm.rank(), comm.size(), host_name()}, learner_.step->clock().spans(),
      comms_.recorder ? comms_.recorder->entries() : std::vector<comm::FlightEntry>());
}

}  // namespace scorenet::train
