// The order in which training sees the data: one endless sequence of sample indices, the same for
// any rank count.
//
// Epoch e is a permutation of 0..N-1 that depends on (seed, e) alone; the sequence is epoch 0,
// epoch 1, ... end to end. A global cursor counts samples consumed: step k of global batch B takes
// positions [k B, (k + 1) B), across epoch borders, so each sample comes exactly once per epoch for
// any B. Resuming needs only the cursor.
//
// Chunked files: reading one sample costs a whole chunk, so a full permutation would read every
// chunk many times. There, chunks are permuted, then samples are shuffled inside windows of
// `window_blocks` consecutive permuted chunks.
#pragma once

#include <cstdint>
#include <vector>

namespace scorenet::data {

struct ShuffleOptions {
  uint64_t seed = 0;
  bool shuffle = true;        // false: 0, 1, ..., N - 1 in each epoch
  int64_t block_rows = 1;     // samples stored together; 1: full permutation
  int64_t window_blocks = 1;  // blocks shuffled together; more: better mixed, more memory
};

/// The N indices of one epoch, each once. O(N) integers. Throws ConfigError unless size >= 0 and
/// the options are >= 1.
std::vector<int64_t> epoch_order(int64_t size, const ShuffleOptions& options, int64_t epoch);

class GlobalSampler {
 public:
  /// Throws ConfigError if size < 1.
  GlobalSampler(int64_t size, const ShuffleOptions& options);

  int64_t size() const { return size_; }
  /// The sample indices at positions [first, first + count) of the endless sequence.
  std::vector<int64_t> indices(int64_t first, int64_t count);
  /// The epoch in which a position lies.
  int64_t epoch_of(int64_t position) const { return position / size_; }

 private:
  int64_t size_;
  ShuffleOptions options_;
  int64_t epoch_ = -1;  // whose order is at hand
  std::vector<int64_t> order_;
};

}  // namespace scorenet::data
