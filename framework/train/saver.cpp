#include "framework/train/saver.hpp"

#include <atomic>
#include <cstdio>

#include "framework/core/error.hpp"
#include "framework/score/told_conditions.hpp"
#include "framework/train/replica.hpp"
#include "framework/train/snapshot_retention.hpp"
#include "models/autocast.hpp"

namespace scorenet::train {
namespace {

std::string step_text(int64_t step) { return "step " + std::to_string(step); }

std::string saved_line(int64_t step, double stall_s, double written_s, int64_t bytes) {
  char text[192];
  std::snprintf(text, sizeof text, "step %lld saved: stall %.3f s, written in %.3f s",
                static_cast<long long>(step), stall_s, written_s);
  std::string line = text;
  if (bytes == 0) return line + " at once";
  std::snprintf(text, sizeof text, " beside training, from a copy of %.1f MB",
                1e-6 * static_cast<double>(bytes));
  return line + text;
}

}  // namespace

// What the writer came to.
struct Saver::Outcome {
  std::vector<std::string> problems;   // old files that could not be removed; read after its end
  std::atomic<bool> given_up = false;  // nobody waits for the writer any more: it writes nothing
};

// All that the writer needs; it may outlive the Saver.
struct Saver::Job {
  struct Snapshot {
    std::filesystem::path path;
    checkpoint::TensorMap tensors;
    checkpoint::Metadata metadata;
  };
  RunFolder folder;
  config::CheckpointConfig config;
  bool to_replica = false;
  CheckpointContent content;
  std::vector<Snapshot> snapshots;
  std::shared_ptr<c10::Event> arrived;
  std::function<void()> check;
  files::FileLayer* layer = nullptr;
  std::shared_ptr<Outcome> outcome;

  void check_own() const {
    if (outcome->given_up) throw CheckpointError("given up.");
    check();
  }

  void write() const {
    const auto checked = [this] { check_own(); };
    wait_for(arrived);
    auto& problems = outcome->problems;
    problems = write_checkpoint(folder.checkpoints(), content, config.keep, checked, *layer);
    for (const Snapshot& snapshot : snapshots)
      score::write_snapshot(snapshot.path, snapshot.tensors, snapshot.metadata);
    for (auto& problem : remove_old_snapshots(folder.snapshots(), content.step,
                                              {config.snapshot_keep, config.snapshot_keep_every}))
      problems.push_back(std::move(problem));
    folder.clear_temporaries();
    if (!to_replica) return;
    claim_replica(config.replica, folder.root());
    for (auto& problem : write_checkpoint(config.replica, content, config.keep, checked, *layer))
      problems.push_back(std::move(problem));
  }
};

Saver::Saver(const config::Config& config, const RunFolder& folder, Learner& learner,
             const data::DatasetSummary& data, comm::Communicators& comms, Hooks hooks,
             files::FileLayer& layer)
    : config_(config),
      folder_(folder),
      learner_(learner),
      data_(data),
      comms_(comms),
      hooks_(std::move(hooks)),
      layer_(layer) {}

Saver::~Saver() {
  if (task_.under_way() && !task_.wait(config_.comm.link.limits.save)) give_up();
}

void Saver::give_up() {
  outcome_->given_up = true;
  task_.abandon();
}

TrainState Saver::state() const {
  return {learner_.parameters, learner_.update, learner_.objective, learner_.spikes, data_};
}

void Saver::prepare() {
  if (config_.checkpoint.background && comms_.host->rank() == 0) copy_.allocate(state());
}

void Saver::save(const RunProgress& progress, bool last) {
  const auto start = comm::Clock::now();
  finish(/*last=*/false);
  hooks_.check();
  ++saves_;
  if (!config_.checkpoint.background) return save_now(progress, last);
  save_beside(progress, last);
  stall_s_ = comm::seconds_since(start);
}

bool Saver::replica_is_due(bool last) const {
  const config::CheckpointConfig& c = config_.checkpoint;
  return !c.replica.empty() && (last || saves_ % c.replica_every == 0);
}

// Collective on all ranks, whatever becomes of it on rank zero.
void Saver::save_now(const RunProgress& progress, bool last) {
  const auto start = comm::Clock::now();
  const bool mine = comms_.host->rank() == 0;
  std::exception_ptr failure;
  std::vector<std::string> problems;
  const auto attempt = [&](const std::function<void()>& work) {
    try {
      work();
    } catch (const CommError&) {
      throw;
    } catch (const Error&) {
      if (!failure) failure = std::current_exception();
    }
  };
  const auto save_to = [&](const std::filesystem::path& root) {
    attempt([&] {
      for (auto& problem : save_checkpoint(root, config_, state(), progress, *comms_.host))
        problems.push_back(std::move(problem));
    });
  };
  save_to(folder_.checkpoints());
  for (size_t i = 0; progress.step > 0 && i < learner_.update.ema_profiles().size(); ++i)
    attempt([&] { save_average(i, progress); });
  if (mine) {
    for (auto& problem : remove_old_snapshots(
             folder_.snapshots(), progress.step,
             {config_.checkpoint.snapshot_keep, config_.checkpoint.snapshot_keep_every}))
      problems.push_back(std::move(problem));
    folder_.clear_temporaries();
  }
  if (replica_is_due(last)) {
    if (mine) attempt([&] { claim_replica(config_.checkpoint.replica, folder_.root()); });
    save_to(config_.checkpoint.replica);
  }
  if (!mine) return;
  if (failure) return heed_failure(progress.step, failure, last);
  const double seconds = comm::seconds_since(start);
  hooks_.tell(saved_line(progress.step, seconds, seconds, 0));
  for (const auto& problem : problems) hooks_.tell(problem);
}

void Saver::save_beside(const RunProgress& progress, bool last) {
  copy_.take(state(), *comms_.host);
  if (comms_.host->rank() != 0) return;
  step_under_way_ = progress.step;
  last_under_way_ = last;
  task_.start([job = job_of(progress, last)] { job.write(); });
}

Saver::Job Saver::job_of(const RunProgress& progress, bool last) {
  outcome_ = std::make_shared<Outcome>();
  Job job{folder_, config_.checkpoint, replica_is_due(last), {},
          {},      copy_.arrived(),    hooks_.check,         &layer_,
          outcome_};
  job.content = {progress.step, copy_.files(), texts_of(config_, state(), progress)};
  for (size_t i = 0; progress.step > 0 && i < learner_.update.ema_profiles().size(); ++i) {
    const score::SnapshotLabel label = label_of(i, progress);
    Job::Snapshot snapshot{snapshot_path(i, progress.step), copy_.average(state(), i),
                           score::snapshot_metadata(config_, learner_.model.example_shape, label)};
    for (const auto& [name, values] : label.statistics) snapshot.tensors[name] = values;
    job.snapshots.push_back(std::move(snapshot));
  }
  return job;
}

void Saver::look() {
  if (task_.under_way() && task_.ended()) settle();
}

void Saver::finish(bool last) {
  if (!task_.under_way()) return;
  last_under_way_ = last_under_way_ || last;
  const double limit_s = config_.comm.link.limits.save;
  if (!task_.wait(limit_s)) {
    give_up();
    throw CheckpointError(folder_.checkpoints().string() + ": the save of " +
                          step_text(step_under_way_) + " has not ended after " +
                          std::to_string(static_cast<int64_t>(limit_s)) +
                          " s (comm.save_timeout_s): the disk does not answer. Look at the file "
                          "system; the same command continues from the last checkpoint.");
  }
  settle();
}

// The writer has ended.
void Saver::settle() {
  const double seconds = task_.seconds();
  try {
    task_.take();
  } catch (const Error&) {
    return heed_failure(step_under_way_, std::current_exception(), last_under_way_);
  }
  hooks_.tell(saved_line(step_under_way_, stall_s_, seconds,
                         HostCopy::bytes_for(learner_.parameters, learner_.update)));
  for (const auto& problem : outcome_->problems) hooks_.tell(problem);
}

// After the last save there is no next one that could succeed.
void Saver::heed_failure(int64_t step, const std::exception_ptr& failure, bool last) {
  if (last || config_.checkpoint.on_failure != "continue") std::rethrow_exception(failure);
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    hooks_.tell(step_text(step) + " not saved: " + error.what() +
                " Training goes on (checkpoint.on_failure = continue); the next save tries again.");
  }
}

score::SnapshotLabel Saver::label_of(size_t profile, const RunProgress& progress) const {
  return {progress.step, "ema" + optim::ema_name(learner_.update.ema_profiles()[profile]),
          progress.precision, learner_.model.traits, score::statistics_of(learner_.model)};
}

std::filesystem::path Saver::snapshot_path(size_t profile, int64_t step) const {
  return folder_.snapshot(step, "ema" + optim::ema_name(learner_.update.ema_profiles()[profile]));
}

void Saver::save_average(size_t profile, const RunProgress& progress) {
  const torch::Tensor average = learner_.update.average(profile);
  if (comms_.host->rank() != 0) return;
  score::save_snapshot(snapshot_path(profile, progress.step), config_, learner_.model.example_shape,
                       learner_.parameters, average, label_of(profile, progress));
}

}  // namespace scorenet::train
