// What a run shows in TensorBoard: the numbers of each status line, the loss over log-SNR, each
// evaluation with its grids, and the config. `tensorboard --logdir RUN` finds the files in the run
// folder.
//
// The logs proper are stats.jsonl and metrics.csv. So a disk that takes no event file ends no run:
// that is told once, and no more is written until the next start.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "framework/dashboard/event_file.hpp"
#include "framework/train/run_folder.hpp"

namespace scorenet::train {

struct Tick;

class TensorBoardLog {
 public:
  using Tell = std::function<void(const std::string& sentence)>;

  /// resumed_step: later steps of earlier starts do not count. config: as TOML; it is written if
  /// the folder has no event file yet, or if `changed`. tell: called with a sentence when a write
  /// fails.
  TensorBoardLog(const RunFolder& folder, int64_t resumed_step, const std::string& config,
                 bool changed, Tell tell, files::FileLayer& layer = files::real_files());

  void tick(const Tick& tick);

  /// An evaluation's numbers and grids are kept until it is whole: one that is given up and made
  /// again would stand there twice.
  void evaluation_value(const std::string& name, double value);
  /// weights: as RunFolder::grid. Its file must be there.
  void evaluation_grid(const std::filesystem::path& grid, const std::string& weights);
  void evaluation_is_whole(int64_t step);

 private:
  void attempt(const std::function<void()>& work);

  std::optional<dashboard::EventFile> file_;  // none after a failure
  std::vector<std::string> evaluation_;       // values of the one under way
  Tell tell_;
};

}  // namespace scorenet::train
