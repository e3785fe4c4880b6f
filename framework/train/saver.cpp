#include "framework/train/saver.hpp"

#include <cstdio>

#include "framework/checkpoint/checkpoint_store.hpp"
#include "framework/comm/any_rank.hpp"
#include "framework/comm/fingerprint.hpp"
#include "framework/comm/on_rank_zero.hpp"
#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/score/told_conditions.hpp"
#include "framework/train/replica.hpp"
#include "framework/train/save_job.hpp"
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

// Whether all ranks see what rank zero writes into a folder. Collective.
bool is_shared(const std::filesystem::path& folder, comm::Communicator& comm) {
  const std::filesystem::path probe = comm::on_rank_zero(
      comm,
      [&] {
        const auto path = files::temporary_sibling(folder / "shared");
        files::write_file_atomically(path, "");
        return path.string();
      },
      "probe of the run folder");
  std::error_code ignored;
  const bool all = !comm::any_rank(comm, !std::filesystem::exists(probe, ignored), "probe seen");
  if (comm.rank() == 0) std::filesystem::remove(probe, ignored);
  return all;
}

}  // namespace

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
  if (!config_.checkpoint.background) return;
  in_parts_ = !learner_.update.owned().empty() && is_shared(folder_.checkpoints(), *comms_.host);
  const bool mine = comms_.host->rank() == 0;
  if (mine || in_parts_) copy_.allocate(state(), mine, in_parts_);
}

void Saver::save(const RunProgress& progress, bool last) {
  const auto start = comm::Clock::now();
  finish(/*last=*/false);
  hooks_.check();
  ++saves_;
  if (!config_.checkpoint.background) return save_now(progress, last);
  progress_under_way_ = progress;
  last_under_way_ = last;
  parts_s_ = 0;
  if (in_parts_)
    save_in_parts(progress);
  else
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
    for (auto& problem : clear_folder(folder_, config_.checkpoint, progress.step))
      problems.push_back(std::move(problem));
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
  copy_.take(state(), *comms_.host, /*in_parts=*/false);
  if (comms_.host->rank() != 0) return;
  task_.start([job = job_of(progress, last)] { job.write(); });
}

SaveJob Saver::job_of(const RunProgress& progress, bool last) {
  outcome_ = std::make_shared<SaveOutcome>();
  SaveJob job{.folder = folder_,
              .config = config_.checkpoint,
              .to_replica = replica_is_due(last),
              .content = {progress.step, copy_.files(), texts_of(config_, state(), progress)},
              .arrived = copy_.arrived(),
              .check = hooks_.check,
              .layer = &layer_,
              .outcome = outcome_};
  for (size_t i = 0; progress.step > 0 && i < learner_.update.ema_profiles().size(); ++i) {
    const score::SnapshotLabel label = label_of(i, progress);
    SaveJob::Snapshot snapshot{
        snapshot_path(i, progress.step), optim::ema_name(learner_.update.ema_profiles()[i]) + ".",
        in_parts_ ? checkpoint::TensorMap() : copy_.average(state(), i),
        score::snapshot_metadata(config_, learner_.model.example_shape, label)};
    for (const auto& [name, values] : label.statistics) snapshot.tensors[name] = values;
    job.snapshots.push_back(std::move(snapshot));
  }
  return job;
}

// A checkpoint that is being put together in parts.
struct Saver::Parts {
  Parts(const std::filesystem::path& root, int64_t step, files::FileLayer& layer)
      : writer(root, step, layer) {}
  checkpoint::CheckpointWriter writer;
  std::vector<std::string> names = {};
};

// Collective.
void Saver::save_in_parts(const RunProgress& progress) {
  comm::Communicator& comm = *comms_.host;
  try {
    // Of no use to the others, but all of them learn of a failure.
    const std::string folder = comm::on_rank_zero(
        comm,
        [&] {
          parts_ = std::make_shared<Parts>(folder_.checkpoints(), progress.step, layer_);
          return parts_->writer.folder().string();
        },
        "folder of the checkpoint");
    copy_.take(state(), comm, /*in_parts=*/true);
    parts_under_way_ = true;
    write_own_part(folder);
  } catch (const CommError&) {
    throw;
  } catch (const Error&) {
    heed_failure(progress.step, std::current_exception(), last_under_way_);
  }
}

void Saver::write_own_part(const std::filesystem::path& folder) {
  const int rank = comms_.host->rank(), size = comms_.host->size();
  const auto content = std::make_shared<CheckpointContent>();
  if (rank == 0) {
    *content = {progress_under_way_.step, copy_.files(),
                texts_of(config_, state(), progress_under_way_)};
    for (const auto& [file, pieces] : copy_.parts())
      for (int r = 0; r < size; ++r) parts_->names.push_back(checkpoint::part_name(file, r, size));
  }
  outcome_ = std::make_shared<SaveOutcome>();
  task_.start([=, own = copy_.parts(), arrived = copy_.arrived(), parts = parts_, layer = &layer_] {
    wait_for(arrived);
    for (const auto& [file, pieces] : own)
      checkpoint::write_part(folder, checkpoint::part_name(file, rank, size), pieces, *layer);
    for (const auto& [file, tensors] : content->tensors) parts->writer.write_tensors(file, tensors);
    for (const auto& [file, text] : content->texts) parts->writer.write_text(file, text);
  });
}

void Saver::tell_of_part(Wishes& wishes) const {
  if (!parts_under_way_) return;
  wishes.writing = !task_.ended();
  wishes.write_failed = !wishes.writing && task_.failed();
}

void Saver::heed(const StepReport& report) {
  // Said before the save began.
  if (!parts_under_way_ || report.step < progress_under_way_.step || report.writing) return;
  end_parts(report.write_failed);
}

// All ranks' parts have ended. Collective.
void Saver::end_parts(const std::vector<int>& failed) {
  parts_under_way_ = false;
  parts_s_ = task_.seconds();
  std::string reason;
  try {
    task_.take();
  } catch (const std::exception& error) {
    reason = error.what();
  }
  if (failed.empty()) return publish_parts();
  parts_.reset();
  reason = comm::broadcast_text(*comms_.host, reason, failed[0], "why a part was not written");
  heed_failure(
      progress_under_way_.step,
      std::make_exception_ptr(CheckpointError("rank " + std::to_string(failed[0]) + ": " + reason)),
      last_under_way_);
}

// On rank zero's thread: what the others have written becomes the checkpoint.
void Saver::publish_parts() {
  if (comms_.host->rank() != 0) return;
  SaveJob job = job_of(progress_under_way_, last_under_way_);
  job.content = {.step = progress_under_way_.step};  // the rest is written
  task_.start([job = std::move(job), parts = std::exchange(parts_, nullptr)] {
    checkpoint::CheckpointWriter& writer = parts->writer;
    for (const std::string& name : parts->names)
      writer.take_up(name, checkpoint::take_record(writer.folder(), name));
    job.check_own();
    const auto folder = job.folder.checkpoints();
    job.outcome->problems = writer.commit(static_cast<int>(job.config.keep));
    job.finish_from({folder / files::step_name(writer.manifest().step), writer.manifest(), {}});
  });
}

void Saver::look() {
  if (!parts_under_way_ && task_.under_way() && task_.ended()) settle();
}

void Saver::finish(bool last) {
  last_under_way_ = last_under_way_ || last;
  if (parts_under_way_) {
    wait_for_task();
    comm::Communicator& comm = *comms_.host;
    int64_t mine = task_.failed() ? 1 : 0;
    std::vector<int64_t> all(static_cast<size_t>(comm.size()));
    comm.all_gather({&mine, 1, comm::DataType::int64},
                    {all.data(), comm.size(), comm::DataType::int64}, "parts written")
        .wait();
    std::vector<int> failed;
    for (int r = 0; r < comm.size(); ++r)
      if (all[static_cast<size_t>(r)] != 0) failed.push_back(r);
    end_parts(failed);
  }
  if (!task_.under_way()) return;
  wait_for_task();
  settle();
}

void Saver::wait_for_task() {
  const double limit_s = config_.comm.link.limits.save;
  if (!task_.wait(limit_s)) {
    give_up();
    throw CheckpointError(folder_.checkpoints().string() + ": the save of " +
                          step_text(progress_under_way_.step) + " has not ended after " +
                          std::to_string(static_cast<int64_t>(limit_s)) +
                          " s (comm.save_timeout_s): the disk does not answer. Look at the file "
                          "system; the same command continues from the last checkpoint.");
  }
}

// The writer has ended.
void Saver::settle() {
  const double seconds = parts_s_ + task_.seconds();
  try {
    task_.take();
  } catch (const Error&) {
    return heed_failure(progress_under_way_.step, std::current_exception(), last_under_way_);
  }
  hooks_.tell(saved_line(progress_under_way_.step, stall_s_, seconds, copy_.bytes()));
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
