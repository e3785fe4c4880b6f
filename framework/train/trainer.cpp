#include "framework/train/trainer.hpp"

#include <algorithm>
#include <iostream>

#include "framework/comm/any_rank.hpp"
#include "framework/comm/fingerprint.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/pixels.hpp"
#include "framework/core/stop_signal.hpp"
#include "framework/core/tensor_digest.hpp"
#include "framework/data/augment.hpp"
#include "framework/data/batch_loader.hpp"
#include "framework/data/fit.hpp"
#include "framework/data/png.hpp"
#include "framework/score/foreign_network.hpp"
#include "framework/score/model_input.hpp"
#include "framework/score/snapshot.hpp"
#include "framework/score/told_conditions.hpp"
#include "framework/train/foreign_start.hpp"
#include "framework/train/kept_transforms.hpp"
#include "framework/train/start_block.hpp"
#include "framework/transform/numbers.hpp"
#include "models/autocast.hpp"

namespace scorenet::train {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = comm::Clock::now();
  work();
  return comm::seconds_since(start);
}

// With what only the data say.
config::Config& completed(config::Config& config, const data::ImageDataset& dataset) {
  score::take_condition_shapes(config, dataset);
  if (config.model.type == "torchscript") score::read_network_file(config);  // its digest
  return config;
}

std::string at_step(int64_t step) { return "step " + std::to_string(step); }

}  // namespace

Trainer::Trainer(const config::Config& config, const std::filesystem::path& outdir,
                 comm::Communicators& comms, torch::Device device, files::FolderLock* lock)
    : config_(config),
      folder_(outdir),
      lock_(lock),
      comms_(comms),
      data_{data::ImageDataset(config.data.map, config.data.split,
                               score::dataset_options(config, *comms.host))},
      first_weights_(config_, folder_, *comms.host),
      learner_(
          first_weights_.given_to(trainable_model(completed(config_, data_.dataset), data_.dataset,
                                                  data_.summary, folder_, *comms.host, device),
                                  *comms.host),
          data_.dataset.levels(), comms),
      report_(config_, folder_, learner_, comms),
      saver_(config_, folder_, learner_, data_.summary, comms,
             {[this](const std::string& line) { report_.line(line); },
              [lock] {
                if (lock) lock->require_held();
              }}) {
  learner_.model.name = outdir.string();
  if (config.data.labels) data_.dataset.check_labels(config.model.num_classes);
  if (config.data.flip) data::check_has_width(data_.dataset);
  if (config.eval.every > 0) held_out_.emplace(config_, folder_, learner_, *comms.host);
  take_up();
}

void Trainer::take_up() {
  comm::Communicator& comm = *comms_.host;
  if (comms_.recorder) {
    comms_.recorder->set_dump(folder_.flight_record(comm.rank()), {comm.rank(), comm.size(), ""});
  }
  progress_ = restore_checkpoint(folder_, config_, saver_.state(), comm);
  learner_.model.config.train.redraw = progress_.redraw;
  if (progress_.step == 0) try_foreign(learner_.model, data_.dataset, comm);
  if (comm.rank() != 0) return;
  for (const auto& warning : progress_.warnings) std::cerr << warning << std::endl;
}

std::string Trainer::start_block() const {
  std::string text = train::start_block(config_, folder_.root(), data_.dataset, data_.summary,
                                        learner_, progress_, *comms_.host, first_weights_.lines());
  if (!held_out_ || comms_.host->rank() != 0) return text;
  const std::string shared = held_out_->shared_samples(data_.dataset);
  return shared.empty() ? text : text + "\nwarning         " + shared;
}

// Some of the images that are trained on, to lay beside the samples.
void Trainer::draw_reals() {
  data::ImageDataset& dataset = data_.dataset;
  const bool is_images =
      dataset.example_shape().size() == 3 && dataset.kind() == data::DataKind::discrete;
  if (comms_.host->rank() != 0 || !is_images || config_.eval.samples == 0 || progress_.step > 0)
    return;
  const int64_t count = std::min(config_.eval.samples, dataset.size());
  const auto x = in_model_range(dataset.read(slot_range(0, count)).examples, dataset.levels());
  data::write_png_grid(folder_.reals(), pixels_from_data(x), 8);
}

ExitCode Trainer::run() {
  report_.open(progress_, start_block());
  if (comms_.host->rank() == 0) keep_transforms(learner_.model, data_.summary.fingerprint, folder_);
  draw_reals();
  saver_.prepare();
  complete_last_step();
  if (progress_.step == 0 && may_go_back()) save();
  train();
  set_phase(comm::Phase::save);
  saver_.finish(/*last=*/true);
  comms_.host->barrier("last save").wait();
  if (lock_) lock_->announce_end();
  report_.line(stop_asked_ ? "stopped by a signal at " + at_step(progress_.step) +
                                 "; the same command goes on from here"
                           : "done; everything is in " + folder_.root().string());
  return stop_asked_ ? ExitCode::requeue : ExitCode::done;
}

void Trainer::train() {
  while (!at_end() && !stop_asked_) {
    train_on();
    if (!back_because_.empty()) go_back();
  }
}

// Until the end, a stop, or the run has to go back.
void Trainer::train_on() {
  const uint64_t seed = draw_seed(learner_.model.config.train);
  data::ImageDataset& dataset = data_.dataset;
  // While the loader lives, the data set belongs to its thread.
  data::BatchLoader loader(
      [&dataset](const std::vector<int64_t>& indices) { return dataset.read(indices); },
      data::GlobalSampler(dataset.size(),
                          {seed, true, dataset.block_rows(), config_.data.shuffle_window}),
      data::LoaderOptions{config_.train.batch_size, comms_.host->rank(), comms_.host->size(),
                          config_.data.prefetch, config_.data.flip, seed,
                          [this](data::LoadedBatch& loaded) { to_network_values(loaded); }},
      progress_.step);
  set_phase(comm::Phase::train);
  while (!at_end() && !stop_asked_ && back_because_.empty()) take_step(loader.next());
}

// On the loader's thread.
void Trainer::to_network_values(data::LoadedBatch& loaded) const {
  const score::ScoreModel& model = learner_.model;
  data::Batch& batch = loaded.batch;
  const models::Conditions given = score::told_of_batch(model, data_.dataset, batch);
  batch.numbers = given.numbers;
  batch.fields = given.fields;
  if (!model.transforms.is_plain()) {
    const auto values =
        model.transforms.forward(batch.examples, {data_.dataset.where(), batch.indices},
                                 score::divisors(model, batch.conditions));
    batch.examples = transform::as_float32(values.x);
    batch.observed = values.observed;
  }
  if (config_.data.augment > 0) augment(loaded);
}

// Levels stay levels, between whole numbers too: scaling them to [-1, 1] is affine.
void Trainer::augment(data::LoadedBatch& loaded) const {
  const auto drawn =
      data::draw_augmentations(config_.data.augment, draw_seed(learner_.model.config.train),
                               loaded.step, slot_range(loaded.slots.begin, loaded.slots.size()));
  loaded.batch.examples = data::augmented(loaded.batch.examples, drawn);
  loaded.augment = data::told_of(drawn);
}

void Trainer::set_phase(comm::Phase phase) {
  comms_.host->set_phase(phase);
  if (comms_.device) comms_.device->set_phase(phase);
}

bool Trainer::is_due(int64_t every) const { return every > 0 && progress_.step % every == 0; }

bool Trainer::at_end() const { return progress_.step >= config::total_steps(config_.train); }

// Rank zero's clock decides for all.
Wishes Trainer::wishes() const {
  const double minutes = config_.checkpoint.every_minutes;
  const bool timed = minutes > 0 && comms_.host->rank() == 0;
  Wishes all{stop_asked(), timed && comm::seconds_since(saved_at_) >= 60 * minutes};
  saver_.tell_of_part(all);
  return all;
}

void Trainer::take_step(const data::LoadedBatch& batch) {
  saver_.look();
  heed(report_.measured_step(batch, progress_, wishes()));
  if (anything_is_due()) heed(report_.settled());
  if (!back_because_.empty()) return;
  if (is_due(config_.comm.check_every)) check_weights_equal();
  if (is_due(config_.run.tick) || at_end() || stop_asked_) report_.tick(progress_, wall_seconds());
  if (stop_asked_ && lock_) lock_->announce_end();
  if (save_is_due()) report_.add_maintenance(seconds_of([&] { save(); }));
  // A run that was told to stop evaluates when it goes on.
  if (!stop_asked_ && evaluation_is_due()) report_.add_maintenance(seconds_of([&] { evaluate(); }));
}

// A report may come a step late (TrainStep::run); on all ranks alike.
void Trainer::heed(const std::optional<StepReport>& report) {
  if (!report) return;
  handle_trouble(*report);
  stop_asked_ = stop_asked_ || (report->stop && !at_end());
  save_asked_ = save_asked_ || report->save;
  saver_.heed(*report);
}

bool Trainer::save_is_due() const {
  return is_due(config_.checkpoint.every) || save_asked_ || at_end() || stop_asked_;
}

// Whether something after this step reads the weights or counts steps.
bool Trainer::anything_is_due() const {
  return is_due(config_.comm.check_every) || is_due(config_.run.tick) || save_is_due() ||
         evaluation_is_due();
}

void Trainer::handle_trouble(const StepReport& report) {
  const std::string sentence = at_step(report.step + 1) + ": " + report.trouble;
  const bool finite = report.spike || report.overflow;
  const std::string& policy = report.spike ? config_.train.on_spike : config_.train.on_nonfinite;
  if ((report.skipped || report.spike) && !report.overflow && policy == "rollback") {
    if (back_because_.empty()) back_because_ = sentence;
    return;
  }
  if (!report.skipped) {
    skipped_in_a_row_ = 0;
    if (report.spike) report_.line(sentence + " logged (train.on_spike)");
    return;
  }
  ++progress_.skipped;
  if (!report.overflow) give_up_on_trouble(sentence, finite);
  report_.line(sentence + " step left out on all ranks");
}

// Unless the config still allows a step to be left out.
void Trainer::give_up_on_trouble(const std::string& sentence, bool finite) {
  ++skipped_in_a_row_;
  if (!finite && config_.train.on_nonfinite == "halt") {
    throw NotFiniteError(sentence +
                         " the weights are those of the step before. Lower train.learning_rate, "
                         "check the data, or set train.on_nonfinite = skip.");
  }
  if (skipped_in_a_row_ >= config_.train.max_skipped) {
    throw NotFiniteError(sentence + " " + std::to_string(skipped_in_a_row_) +
                         " steps in a row were left out (train.max_skipped). Lower "
                         "train.learning_rate or check the data.");
  }
}

bool Trainer::may_go_back() const {
  return config_.train.on_spike == "rollback" || config_.train.on_nonfinite == "rollback";
}

// To the last checkpoint, and on from there with other draws: the same ones would meet the same
// step again. How often a run has gone back to one checkpoint need not be saved: a run that is
// resumed there goes the same way again.
void Trainer::go_back() {
  const std::string because = std::exchange(back_because_, "");
  learner_.step->settle();
  set_phase(comm::Phase::save);
  saver_.finish(/*last=*/false);
  const RunProgress then = restore_checkpoint(folder_, config_, saver_.state(), *comms_.host);
  times_back_ = then.step == back_to_ ? times_back_ + 1 : 1;
  back_to_ = then.step;
  if (times_back_ > config_.train.max_rollbacks) {
    throw NotFiniteError(because + " the run has gone back to step " + std::to_string(back_to_) +
                         " " + std::to_string(times_back_ - 1) +
                         " times (train.max_rollbacks). Lower train.learning_rate or check the "
                         "data.");
  }
  progress_.step = then.step;
  progress_.skipped = then.skipped;
  progress_.redraw = then.redraw + times_back_;
  learner_.model.config.train.redraw = progress_.redraw;
  skipped_in_a_row_ = 0;
  report_.went_back(progress_.step);
  for (const auto& warning : then.warnings) report_.line(warning);
  report_.line(because + " back to step " + std::to_string(back_to_) +
               " with other draws (rollback " + std::to_string(progress_.redraw) + " of the run)");
  set_phase(comm::Phase::train);
}

double Trainer::wall_seconds() const { return progress_.total_sec + comm::seconds_since(started_); }

void Trainer::check_weights_equal() {
  comm::check_same_on_all_ranks(*comms_.host, {{"weights after " + at_step(progress_.step),
                                                digest_of(learner_.parameters.values())}});
}

RunProgress Trainer::progress_now() const {
  RunProgress now = progress_;
  now.total_sec = wall_seconds();
  now.precision = models::precision_name(learner_.model.compute_dtype);
  return now;
}

void Trainer::save() {
  set_phase(comm::Phase::save);
  saver_.save(progress_now(), at_end() || stop_asked_);
  saved_step_ = progress_.step;
  saved_at_ = comm::Clock::now();
  save_asked_ = false;
  // A signal that came meanwhile need not wait for another step and another save.
  const bool stop = comm::any_rank(*comms_.host, stop_asked(), "checkpoint saved");
  stop_asked_ = stop_asked_ || (stop && !at_end());
  set_phase(comm::Phase::train);
}

bool Trainer::evaluation_is_due() const {
  return held_out_ &&
         (is_due(config_.eval.every) || progress_.step == config::total_steps(config_.train));
}

// A commit promises its step's snapshots and evaluation. A start before this one may have ended
// between the two. Collective.
void Trainer::complete_last_step() {
  if (progress_.step == 0) return;
  const std::vector<int64_t> missing = missing_of_last_step();
  set_phase(comm::Phase::save);
  complete_snapshots(missing);
  comms_.host->barrier("snapshots completed").wait();
  set_phase(comm::Phase::start);
  if (!missing.back()) return;
  report_.line(at_step(progress_.step) + " had no whole evaluation; evaluated now");
  if (MetricsLog* log = report_.log()) log->forget_evaluation(progress_.step);
  evaluate();
}

// 1 for each snapshot that is not there, then for the evaluation: what rank zero finds, on
// all ranks. Collective.
std::vector<int64_t> Trainer::missing_of_last_step() {
  const size_t profiles = learner_.update.ema_profiles().size();
  std::vector<int64_t> missing(profiles + 1, 0);
  if (MetricsLog* log = report_.log()) {
    for (size_t i = 0; i < profiles; ++i)
      missing[i] = !std::filesystem::is_regular_file(saver_.snapshot_path(i, progress_.step));
    missing.back() = evaluation_is_due() && !held_out_->is_whole(progress_.step, *log);
  }
  comms_.host
      ->broadcast({missing.data(), static_cast<int64_t>(missing.size()), comm::DataType::int64}, 0,
                  "what the last step lacks")
      .wait();
  return missing;
}

// Collective.
void Trainer::complete_snapshots(const std::vector<int64_t>& missing) {
  for (size_t i = 0; i + 1 < missing.size(); ++i) {
    if (!missing[i]) continue;
    saver_.save_average(i, progress_);
    report_.line(at_step(progress_.step) + " had no " +
                 saver_.snapshot_path(i, progress_.step).filename().string() + "; saved now");
  }
}

// Collective.
void Trainer::evaluate() {
  set_phase(comm::Phase::evaluate);
  const bool whole = held_out_->evaluate(progress_.step, report_.log());
  set_phase(comm::Phase::train);
  if (whole) return;
  stop_asked_ = true;
  report_.line("evaluation at " + at_step(progress_.step) +
               " given up, because a stop was asked for");
  if (lock_) lock_->announce_end();
  if (saved_step_ != progress_.step) save();
}

}  // namespace scorenet::train
