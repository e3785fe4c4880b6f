#include "framework/train/trainer.hpp"

#include <ATen/DeviceAccelerator.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/comm/fingerprint.hpp"
#include "framework/comm/single_communicator.hpp"
#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/check.hpp"
#include "framework/core/host_name.hpp"
#include "framework/core/pixels.hpp"
#include "framework/core/stop_signal.hpp"
#include "framework/data/png.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/train/classifier.hpp"
#include "framework/train/evaluation.hpp"
#include "framework/train/generate.hpp"
#include "framework/train/kept_config.hpp"
#include "framework/train/same_run.hpp"
#include "framework/train/snapshot.hpp"
#include "framework/train/train_precision.hpp"
#include "models/flops.hpp"

namespace scorenet::train {
namespace {

// What LibTorch has reserved on the device at most.
double peak_device_memory_gb(torch::Device device) {
  if (!device.is_cuda()) return 0;
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto stats = at::accelerator::getDeviceStats(device.index());
  return 1e-9 * static_cast<double>(stats.reserved_bytes[kAll].peak);
}

data::DatasetOptions dataset_options(const config::Config& c) {
  data::DatasetOptions o;
  o.labels = c.data.labels;
  o.cached_blocks = 2 * c.data.shuffle_window;
  return o;
}

ScoreModel trainable_model(const config::Config& config, c10::IntArrayRef example_shape,
                           torch::Device device, comm::Communicator& comm) {
  if (config.model.type == "gaussian_mixture") {
    throw ConfigError(
        "model.type = gaussian_mixture: an analytic model has no weights to train. Give it to "
        "evaluate "
        "or sample with --config.");
  }
  ScoreModel model = build_model(config, example_shape, device);
  model.config.train.precision = settled_precision(config, device, comm);
  return model;
}

double seconds_of(const std::function<void()>& work) {
  const auto start = comm::Clock::now();
  work();
  return comm::seconds_since(start);
}

}  // namespace

Trainer::Trainer(const config::Config& config, const std::filesystem::path& outdir,
                 comm::Communicators& comms, torch::Device device, files::FolderLock* lock)
    : config_(config),
      folder_(outdir),
      lock_(lock),
      comms_(comms),
      comm_(*comms.host),
      total_steps_(config::total_steps(config.train)),
      dataset_(config.data.path, config.data.split, dataset_options(config)),
      data_(dataset_.summary()),
      model_(same_on_all_ranks(trainable_model(config, dataset_.example_shape(), device, comm_),
                               data_.fingerprint, comm_)),
      plan_(plan_gradients(model_, dataset_.example_shape(), comms)),
      parameters_(named_parameters(model_), plan_.layout),
      objective_(model_, dataset_.kind() == data::DataKind::discrete),
      update_(config, parameters_, plan_, comms),
      step_(model_, objective_, update_, comm_),
      meter_(config.train.batch_size) {
  model_.name = outdir.string();
  model_.traits = data::traits_of(data_);
  if (config.data.labels) dataset_.check_labels(config.model.num_classes);
  if (config.data.flip) data::check_has_width(dataset_);
  if (config.eval.every > 0) open_held_out();
  resume();
}

// Looked at as the first evaluation will: what does not fit is said before the first step.
void Trainer::open_held_out() {
  held_out_ = std::make_unique<data::ImageDataset>(config_.data.path, config_.eval.split,
                                                   dataset_options(config_));
  data::ExpectedData expected = expected_data(model_);
  expected.name = "the split " + config_.data.split;
  data::check_fit(expected, *held_out_, config_.eval.n);
}

void Trainer::resume() {
  if (comms_.recorder) {
    comms_.recorder->set_dump(folder_.flight_record(comm_.rank()),
                              {comm_.rank(), comm_.size(), ""});
  }
  progress_ = restore_checkpoint(folder_, config_, {parameters_, update_, objective_, data_},
                                 comm_);
  if (comm_.rank() == 0) {
    for (const auto& warning : progress_.warnings) std::cerr << warning << std::endl;
  }
}

// What the steps of this start compute in, and those before it, where that was something else.
std::string Trainer::precision_line() const {
  const std::string& now = model_.config.train.precision;
  std::string line = describe_precision(config_.train.precision, now, model_.device);
  if (!progress_.precision.empty() && progress_.precision != now)
    line += "; up to step " + std::to_string(progress_.step) + " the run computed in " +
            progress_.precision;
  return line;
}

// As the evaluate verb would: auto is a matter of training, numbers are the same on every machine.
ScoreModel Trainer::evaluated_model() const {
  ScoreModel model = model_;
  model.config.train.precision = config_.train.precision;
  return model;
}

std::string Trainer::start_block() const {
  std::ostringstream out;
  const auto& shape = dataset_.example_shape();
  out << "output folder   " << folder_.root().string() << "\n"
      << "data            " << dataset_.path() << " /" << dataset_.split() << ": "
      << dataset_.size() << " x " << shape_string(shape)
      << (dataset_.has_labels() ? ", labels" : ", no labels") << "\n"
      << "network         " << config_.model.type << ", "
      << models::parameter_count(*model_.network) << " parameters, "
      << models::forward_flops(*model_.network, shape) * 1e-9
      << " GFLOP a forward pass of one image\n"
      << "diffusion       " << config_.diffusion.schedule << ", predicts "
      << (model_.classifier ? "the label" : config_.diffusion.prediction) << ", loss "
      << objective_name(model_) << ", times " << config_.diffusion.time_sampling << "\n"
      << "ranks           " << comm_.size() << " (" << comm_.local_size()
      << " on this host), device " << model_.device.str() << ", " << torch::get_num_threads()
      << " threads each\n"
      << "batch           " << config_.train.batch_size << " = " << comm_.size() << " ranks x "
      << (config_.train.batch_size + comm_.size() - 1) / comm_.size() << "\n"
      << "precision       " << precision_line() << "\n"
      << "gradients       " << describe(plan_, config_)
      << (comm_.size() > 1 && !config_.comm.canonical
              ? ", " + update_.reducer().overlap().describe()
              : "")
      << "\n"
      << "time limits     start " << config_.comm.start_timeout_s << " s, step "
      << config_.comm.train_timeout_s << " s, evaluation " << config_.eval.time_budget_s
      << " s, save " << config_.comm.save_timeout_s << " s\n"
      << "duration        " << total_steps_
      << " steps = " << static_cast<double>(total_steps_ * config_.train.batch_size) / 1000.0
      << " kimg" << (progress_.step ? ", resumed at step " + std::to_string(progress_.step) : "");
  for (const std::string& change : progress_.changes) out << "\nchanged         " << change;
  return out.str();
}

void Trainer::start_logs() {
  if (comm_.rank() != 0) return;
  folder_.create();
  folder_.clear_temporaries();
  const auto changed = keep_config(folder_, config_, progress_.step);
  const bool bar =
      config_.run.progress == "bar" || (config_.run.progress == "auto" && isatty(STDERR_FILENO));
  log_.emplace(folder_, progress_.step, total_steps_, bar);
  log_->line(start_block());
  // Before the first checkpoint the folder's config is all there is to compare with.
  for (size_t i = 0; progress_.changes.empty() && i < changed.size(); ++i)
    log_->line("changed         " + changed[i]);
  const bool images = dataset_.example_shape().size() == 3;
  if (images && dataset_.kind() == data::DataKind::discrete && config_.eval.samples > 0 &&
      progress_.step == 0) {
    const int64_t count = std::min(config_.eval.samples, dataset_.size());
    data::write_png_grid(folder_.reals(), dataset_.read(slot_range(0, count)).examples, 8);
  }
}

ExitCode Trainer::run() {
  start_logs();
  complete_last_step();
  // From here on the data set belongs to the loader's thread.
  loader_ = std::make_unique<data::BatchLoader>(
      [this](const std::vector<int64_t>& indices) { return dataset_.read(indices); },
      data::GlobalSampler(dataset_.size(), {static_cast<uint64_t>(config_.train.seed), true,
                                            dataset_.block_rows(), config_.data.shuffle_window}),
      data::LoaderOptions{config_.train.batch_size, comm_.rank(), comm_.size(),
                          config_.data.prefetch, config_.data.flip,
                          static_cast<uint64_t>(config_.train.seed)},
      progress_.step);
  set_phase(comm::Phase::train);
  while (progress_.step < total_steps_ && !stop_asked_) take_step();
  if (lock_) lock_->announce_end();
  if (log_) {
    log_->line(stop_asked_ ? "stopped by a signal at step " + std::to_string(progress_.step) +
                                 "; the same command goes on from here"
                           : "done; everything is in " + folder_.root().string());
  }
  return stop_asked_ ? ExitCode::requeue : ExitCode::done;
}

void Trainer::set_phase(comm::Phase phase) {
  comm_.set_phase(phase);
  if (comms_.device) comms_.device->set_phase(phase);
}

bool Trainer::is_due(int64_t every) const { return every > 0 && progress_.step % every == 0; }

void Trainer::take_step() {
  const bool was_tracing = step_.clock().tracing();
  const bool was_decided = update_.reducer().overlap().decided();
  const StepReport report = step_.run(loader_->next(), progress_.step, stop_asked());
  ++progress_.step;
  comms_.vitals->step = progress_.step;
  meter_.add(report);
  if (was_tracing && !step_.clock().tracing()) write_timeline();
  handle_trouble(report);
  if (log_ && !was_decided && update_.reducer().overlap().decided())
    log_->line("step " + std::to_string(progress_.step) + ": gradients travel " +
               update_.reducer().overlap().describe());
  stop_asked_ = report.stop && progress_.step < total_steps_;
  const bool last = progress_.step == total_steps_;
  if (is_due(config_.comm.check_every)) check_weights_equal();
  if (log_) {
    const double left =
        static_cast<double>((total_steps_ - progress_.step) * config_.train.batch_size);
    log_->progress(progress_.step, meter_.images_per_sec(), meter_.mean_loss(),
                   left / meter_.images_per_sec());
  }
  if (is_due(config_.run.tick) || last || stop_asked_) report_tick();
  save_where_due(last);
  // A run that was told to stop evaluates when it goes on.
  if (!stop_asked_ && evaluation_is_due())
    meter_.add_maintenance(seconds_of([&] { evaluate(); }));
}

void Trainer::save_where_due(bool last) {
  if (stop_asked_ && lock_) lock_->announce_end();
  if (!is_due(config_.checkpoint.every) && !last && !stop_asked_) return;
  meter_.add_maintenance(seconds_of([&] { save(); }));
}

// Whether any rank says so. Collective; it takes the place of a barrier.
bool Trainer::tells_all(bool mine, std::string_view tag) {
  int64_t any = mine ? 1 : 0;
  comm_.all_reduce({&any, 1, comm::DataType::int64}, comm::ReduceOp::max, tag).wait();
  return any != 0;
}

void Trainer::handle_trouble(const StepReport& report) {
  if (!report.skipped) {
    skipped_in_a_row_ = 0;
    return;
  }
  ++progress_.skipped;
  const std::string sentence = "step " + std::to_string(progress_.step) + ": " + report.trouble;
  if (!report.overflow) give_up_on_trouble(sentence);
  if (log_) log_->line(sentence + " step left out on all ranks");
}

// Unless the config still allows a step to be left out.
void Trainer::give_up_on_trouble(const std::string& sentence) {
  ++skipped_in_a_row_;
  if (config_.train.on_nonfinite == "halt") {
    throw NotFiniteError(sentence +
                         " the weights are those of the step before. Lower train.learning_rate, "
                         "check the data, or set "
                         "train.on_nonfinite = skip.");
  }
  if (skipped_in_a_row_ >= config_.train.max_skipped) {
    throw NotFiniteError(sentence + " " + std::to_string(skipped_in_a_row_) +
                         " steps in a row were left out (train.max_skipped). Lower "
                         "train.learning_rate or check the data.");
  }
}

double Trainer::wall_seconds() const { return progress_.total_sec + comm::seconds_since(started_); }

void Trainer::report_tick() {
  Tick tick = meter_.take();
  report_straggler(tick);
  if (!log_) return;
  tick.step = progress_.step;
  tick.kimg = static_cast<double>(progress_.step * config_.train.batch_size) / 1000.0;
  tick.skipped = progress_.skipped;
  tick.cpu_mem_gb = resident_memory_gb();
  tick.gpu_mem_gb = peak_device_memory_gb(model_.device);
  tick.total_sec = wall_seconds();
  tick.eta_sec = static_cast<double>((total_steps_ - progress_.step) * config_.train.batch_size) /
                 tick.images_per_sec;
  log_->tick(tick);
}

// Collective.
void Trainer::report_straggler(Tick& tick) {
  const PhaseSeconds phases = step_.clock().take();
  for (size_t p = 0; p < kStepPhases; ++p)
    tick.phase_sec.emplace_back(name(static_cast<StepPhase>(p)), phases[p]);
  const auto slow = find_straggler(phases, config_.comm.straggler_excess, comm_);
  if (!slow) return;
  tick.straggler_rank = slow->rank;
  tick.straggler_phase = slow->phase;
  tick.straggler_sec = slow->seconds;
  tick.straggler_median_sec = slow->median_seconds;
  if (log_) log_->line("step " + std::to_string(progress_.step) + ": " + perf::describe(*slow));
}

void Trainer::write_timeline() {
  const auto path = folder_.timeline(comm_.rank());
  std::error_code existing;
  std::filesystem::create_directories(path.parent_path(), existing);
  const auto& spans = step_.clock().spans();
  perf::write_timeline(
      path, {comm_.rank(), comm_.size(), host_name()}, spans,
      comms_.recorder ? comms_.recorder->entries() : std::vector<comm::FlightEntry>());
}

void Trainer::check_weights_equal() {
  comm::check_same_on_all_ranks(comm_, {{"weights after step " + std::to_string(progress_.step),
                                         digest_of({parameters_.values()})}});
}

void Trainer::save() {
  set_phase(comm::Phase::save);
  if (lock_) lock_->require_held();
  save_checkpoint(
      folder_, config_, {parameters_, update_, objective_, data_},
      {progress_.step, progress_.skipped, wall_seconds(), {}, model_.config.train.precision, {}},
      comm_);
  for (size_t i = 0; i < update_.ema_profiles().size(); ++i)
    save_average(i, model_.config.train.precision);
  if (comm_.rank() == 0) folder_.clear_temporaries();
  // A signal that came meanwhile need not wait for another step and another save.
  const bool stop = tells_all(stop_asked(), "checkpoint saved");
  stop_asked_ = stop_asked_ || (stop && progress_.step < total_steps_);
  set_phase(comm::Phase::train);
}

std::filesystem::path Trainer::snapshot_path(size_t profile) const {
  return folder_.snapshot(progress_.step, "ema" + ema_name(update_.ema_profiles()[profile]));
}

// Collective.
void Trainer::save_average(size_t profile, const std::string& precision) {
  const torch::Tensor average = update_.average(profile);
  if (comm_.rank() != 0) return;
  const std::string label = "ema" + ema_name(update_.ema_profiles()[profile]);
  save_snapshot(snapshot_path(profile), config_, dataset_.example_shape(), parameters_, average,
                {progress_.step, label, precision, model_.traits});
}

bool Trainer::evaluation_is_due() const {
  return held_out_ && (is_due(config_.eval.every) || progress_.step == total_steps_);
}

bool Trainer::draws_grids() const {
  return !model_.classifier && config_.eval.samples > 0 && dataset_.example_shape().size() == 3;
}

// Rank zero's view.
bool Trainer::evaluation_is_whole() const {
  std::vector<std::filesystem::path> files = {folder_.evaluation(progress_.step)};
  if (draws_grids())
    for (const char* weights : {"raw-", ""})
      files.push_back(folder_.grid(progress_.step, weights));
  const auto is_file = [](const auto& path) { return std::filesystem::is_regular_file(path); };
  return log_->has_evaluation(progress_.step) && std::all_of(files.begin(), files.end(), is_file);
}

// A commit promises its step's snapshots and evaluation. A start before this one may have ended between the two. Collective.
void Trainer::complete_last_step() {
  if (progress_.step == 0) return;
  const size_t profiles = update_.ema_profiles().size();
  std::vector<int64_t> missing(profiles + 1, 0);  // each snapshot; the evaluation
  if (comm_.rank() == 0) {
    for (size_t i = 0; i < profiles; ++i)
      missing[i] = !std::filesystem::is_regular_file(snapshot_path(i));
    missing[profiles] = evaluation_is_due() && !evaluation_is_whole();
  }
  comm_
      .broadcast({missing.data(), static_cast<int64_t>(missing.size()), comm::DataType::int64}, 0,
                 "what the last step lacks")
      .wait();
  const std::string step = "step " + std::to_string(progress_.step);
  set_phase(comm::Phase::save);
  for (size_t i = 0; i < profiles; ++i) {
    if (!missing[i]) continue;
    save_average(i, progress_.precision);
    if (log_) log_->line(step + " had no " + snapshot_path(i).filename().string() + "; saved now");
  }
  comm_.barrier("snapshots completed").wait();
  set_phase(comm::Phase::start);
  if (!missing[profiles]) return;
  if (log_) {
    log_->line(step + " had no whole evaluation; evaluated now");
    log_->forget_evaluation(progress_.step);
  }
  evaluate();
}

void Trainer::evaluate() {
  set_phase(comm::Phase::evaluate);
  const bool on_all_ranks = config_.eval.ranks == "all";
  const torch::Tensor average = update_.average(0);
  bool given_up = false;
  if (on_all_ranks || comm_.rank() == 0) {
    try {
      evaluate_weights("raw-", on_all_ranks);
      const EmaScope averaged(parameters_.values(), average);
      evaluate_weights("", on_all_ranks);
    } catch (const StopRequested&) {
      given_up = true;
    }
  }
  given_up = tells_all(given_up, "evaluation");
  set_phase(comm::Phase::train);
  if (given_up) stop_after_given_up_evaluation();
}

void Trainer::stop_after_given_up_evaluation() {
  stop_asked_ = true;
  if (log_)
    log_->line("evaluation at step " + std::to_string(progress_.step) +
               " given up, because a stop was asked for");
  if (lock_) lock_->announce_end();
  const bool saved = is_due(config_.checkpoint.every) || progress_.step == total_steps_;
  if (!saved) save();
}

void Trainer::evaluate_classifier(comm::Communicator& comm) {
  const ClassifierReport report = train::evaluate_classifier(
      evaluated_model(), *held_out_, training_evaluation(config_.eval), comm);
  if (!log_) return;
  const auto json = to_json(report);
  for (const char* name : {"cross_entropy", "accuracy", "accuracy_clean"})
    log_->metric(progress_.step, name, json.at(name).get<double>());
  files::write_file_atomically(folder_.evaluation(progress_.step), json.dump(2) + "\n");
  log_->line("evaluation at step " + std::to_string(progress_.step) + ": " + json.dump());
}

void Trainer::evaluate_weights(const std::string& weights, bool on_all_ranks) {
  const auto alone = comm::make_single_communicator();
  comm::Communicator& comm = on_all_ranks ? comm_ : *alone;
  const torch::NoGradGuard no_grad;
  if (model_.classifier) {
    if (weights.empty()) evaluate_classifier(comm);
    return;
  }
  if (draws_grids()) {
    diffusion::SamplerOptions sampler;
    sampler.name = config_.eval.sampler;
    sampler.steps = config_.eval.sampler_steps;
    sampler.final = default_final(dataset_.example_shape());
    const auto samples =
        generate(evaluated_model(), dataset_.example_shape(), slot_range(0, config_.eval.samples),
                 sampler, {}, config_.eval.micro_batch, comm);
    if (log_) {
      data::write_png_grid(folder_.grid(progress_.step, weights),
                           pixels_from_data(samples.x.nan_to_num(0, 1, -1)), 8);
    }
  }
  if (!weights.empty()) return;  // the bound is the moving average's
  const EvaluationReport report =
      train::evaluate(evaluated_model(), *held_out_, training_evaluation(config_.eval), comm);
  if (!log_) return;
  for (const auto& [name, value] : headline(report)) log_->metric(progress_.step, name, value);
  // Last: an evaluation that has its report is whole.
  files::write_file_atomically(folder_.evaluation(progress_.step), to_json(report).dump(2) + "\n");
  log_->line("evaluation at step " + std::to_string(progress_.step) + ": " + summary(report));
}

}  // namespace scorenet::train
