// Batches read ahead on a thread of their own, addressed by training step.
//
// Step k of a global batch B is slots k B .. (k + 1) B of the sampler's endless sequence; this rank
// receives its contiguous share of them. A batch depends on (sampler, step, share) alone, not on
// the queue's depth, on timing or on the first step read. So a run resumes from its step number.
// While a loader exists, only the loader's thread uses its reader.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "framework/data/global_sampler.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/data/shard.hpp"

namespace scorenet::data {

/// Where samples come from: usually ImageDataset::read.
using ReadSamples = std::function<Batch(const std::vector<int64_t>& indices)>;

struct LoadedBatch {
  int64_t step = 0;
  Range slots;                 // this rank's part of the global batch, within [0, global_batch)
  Batch batch;                 // one example per slot; (0, ...) where the rank's part is empty
  torch::Tensor augment = {};  // (slots, kAugmentNumbers): how finish has changed the examples
  double wait_seconds = 0;     // how long next() waited for it
};

struct LoaderOptions {
  int64_t global_batch = 1;  // samples per step, over all ranks
  int rank = 0;
  int world_size = 1;
  int64_t depth = 1;  // batches read ahead, >= 1
  /// Mirror each slot with probability 1/2: a function of (seed, step, slot).
  bool horizontal_flip = false;
  uint64_t seed = 0;  // of the flips
  /// Called last on each batch, on the loader's thread; may be empty.
  std::function<void(LoadedBatch& loaded)> finish = {};
};

class BatchLoader {
 public:
  /// Starts reading at `first_step`. Throws ConfigError naming an option out of range.
  BatchLoader(ReadSamples read, GlobalSampler sampler, const LoaderOptions& options,
              int64_t first_step = 0);
  /// Waits for the read in progress, no more.
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  /// The next step's batch. What the reader threw is rethrown here, at the step it belongs to and
  /// at every later call.
  LoadedBatch next();
  /// Drops what was read ahead; next() then gives `step`. Also clears a reader's error.
  void seek(int64_t step);
  /// Sum of all waits in next() since construction.
  double wait_seconds() const { return wait_seconds_; }

 private:
  void start(int64_t first_step);
  void stop();
  void read_ahead(const std::stop_token& stopped, int64_t step);
  LoadedBatch load(int64_t step);

  ReadSamples read_;
  GlobalSampler sampler_;
  LoaderOptions options_;
  double wait_seconds_ = 0;

  std::mutex mutex_;  // guards the two below
  std::deque<LoadedBatch> ready_;
  std::exception_ptr failure_;
  std::condition_variable_any changed_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace scorenet::data
