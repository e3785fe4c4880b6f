// Saves a run: checkpoint, snapshots, replica; beside training where the config allows.
//
// In the background a save costs training only the copy of the state (host_copy.hpp). A thread of
// rank zero then does the rest (save_job.hpp): it writes the checkpoint, which `latest` names once
// it is whole and verified, then the snapshots, then the replica. The bits on the disk are those of
// a save that training waits for.
//
// At most one save is under way. The next one, a stop, the end of training and whoever reads the
// checkpoint wait for it. The other ranks need not know when it has ended: if they come to the next
// save first, they wait there for rank zero.
//
// Sharded state is written in parts (checkpoint/parts.hpp), by each rank its own, all at the same
// time, where all ranks see the run folder. Each step's control vector tells whether a rank's part
// is still under way or has failed. When all have ended, rank zero's thread joins the parts to a
// checkpoint and publishes it, so `latest` changes only once all parts are on the disk.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "framework/checkpoint/background_task.hpp"
#include "framework/comm/make_communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/files/file_layer.hpp"
#include "framework/score/snapshot.hpp"
#include "framework/train/host_copy.hpp"
#include "framework/train/learner.hpp"
#include "framework/train/run_folder.hpp"
#include "framework/train/save_job.hpp"

namespace scorenet::train {

class Saver {
 public:
  struct Hooks {
    /// A line of the log.
    std::function<void(const std::string&)> tell = [](const std::string&) {};
    /// Throws if this job must write no more. Also called on the writer's thread.
    std::function<void()> check = [] {};
  };
  /// All arguments must outlive this. layer: of the checkpoints.
  Saver(const config::Config& config, const RunFolder& folder, Learner& learner,
        const data::DatasetSummary& data, comm::Communicators& comms, Hooks hooks,
        files::FileLayer& layer = files::real_files());
  /// Waits for the save under way, at most comm.save_timeout_s.
  ~Saver();
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;

  TrainState state() const;

  /// Takes the memory of the copies, so that the first save need not. Collective.
  void prepare();
  /// Saves what is trained now. last: no save may come after this one. Collective. Throws
  /// CheckpointError on rank zero where a save has failed and the config does not let it go on.
  void save(const RunProgress& progress, bool last);
  /// What this rank tells of its part, with each step; and what it heard of all in one. heed():
  /// collective, with the reports of all steps. Throws as save().
  void tell_of_part(Wishes& wishes) const;
  void heed(const StepReport& report);
  /// Between steps: tells of a save that has ended. Throws as save().
  void look();
  /// Waits for the save under way. Collective. Throws as save(); if `last`, for any failure.
  void finish(bool last);
  /// Rank zero's weights of an average, as a snapshot. Collective.
  void save_average(size_t profile, const RunProgress& progress);
  std::filesystem::path snapshot_path(size_t profile, int64_t step) const;

 private:
  struct Parts;
  void save_in_parts(const RunProgress& progress);
  void write_own_part(const std::filesystem::path& folder);
  void end_parts(const std::vector<int>& failed);
  void publish_parts();
  void wait_for_task();
  bool replica_is_due(bool last) const;
  void save_now(const RunProgress& progress, bool last);
  void save_beside(const RunProgress& progress, bool last);
  SaveJob job_of(const RunProgress& progress, bool last);
  void settle();
  void give_up();
  void heed_failure(int64_t step, const std::exception_ptr& failure, bool last);
  score::SnapshotLabel label_of(size_t profile, const RunProgress& progress) const;

  const config::Config& config_;
  const RunFolder& folder_;
  Learner& learner_;
  const data::DatasetSummary& data_;
  comm::Communicators& comms_;
  Hooks hooks_;
  files::FileLayer& layer_;
  HostCopy copy_;
  bool in_parts_ = false;
  bool parts_under_way_ = false;  // the same on all ranks
  std::shared_ptr<Parts> parts_;  // rank zero's
  RunProgress progress_under_way_;
  double parts_s_ = 0;  // how long this rank's part took
  int64_t saves_ = 0;
  bool last_under_way_ = false;
  double stall_s_ = 0;
  std::shared_ptr<SaveOutcome> outcome_;  // the writer's
  checkpoint::BackgroundTask task_;       // last: it is waited for first
};

}  // namespace scorenet::train
