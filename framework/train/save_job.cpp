#include "framework/train/save_job.hpp"

#include "framework/checkpoint/checkpoint_store.hpp"
#include "framework/core/error.hpp"
#include "framework/score/snapshot.hpp"
#include "framework/train/replica.hpp"
#include "framework/train/snapshot_retention.hpp"

namespace scorenet::train {

std::vector<std::string> clear_folder(const RunFolder& folder,
                                      const config::CheckpointConfig& config, int64_t step) {
  auto problems = remove_old_snapshots(folder.snapshots(), step,
                                       {config.snapshot_keep, config.snapshot_keep_every});
  folder.clear_temporaries();
  return problems;
}

void SaveJob::check_own() const {
  if (outcome->given_up) throw CheckpointError("given up.");
  check();
}

void SaveJob::write() const {
  const auto checked = [this] { check_own(); };
  wait_for(arrived);
  outcome->problems = write_checkpoint(folder.checkpoints(), content, config.keep, checked, *layer);
  for (const Snapshot& snapshot : snapshots)
    score::write_snapshot(snapshot.path, snapshot.tensors, snapshot.metadata);
  note(clear_folder(folder, config, content.step));
  if (!to_replica) return;
  claim_replica(config.replica, folder.root());
  note(write_checkpoint(config.replica, content, config.keep, checked, *layer));
}

void SaveJob::finish_from(const checkpoint::CheckpointReader& written) const {
  const checkpoint::TensorMap averages = written.tensors("ema.safetensors").tensors;
  for (Snapshot snapshot : snapshots) {
    for (const auto& [name, values] : averages)
      if (name.starts_with(snapshot.prefix))
        snapshot.tensors[name.substr(snapshot.prefix.size())] = values;
    score::write_snapshot(snapshot.path, snapshot.tensors, snapshot.metadata);
  }
  note(clear_folder(folder, config, content.step));
  if (!to_replica) return;
  claim_replica(config.replica, folder.root());
  note(checkpoint::copy_checkpoint(written, config.replica, static_cast<int>(config.keep), *layer));
}

void SaveJob::note(const std::vector<std::string>& more) const {
  outcome->problems.insert(outcome->problems.end(), more.begin(), more.end());
}

}  // namespace scorenet::train
