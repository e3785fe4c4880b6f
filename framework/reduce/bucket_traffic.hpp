// How a bucket of gradients travels: the interface of plain, sharded and compressed sums.
//
// The reducer calls start() for each bucket once its gradients are complete on this rank, while
// backward still runs; after backward advance() for each, then complete() for each. All three go
// over the buckets in one order that is the same on all ranks, so each may start collectives.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "framework/comm/communicator.hpp"
#include "framework/reduce/bucket_plan.hpp"
#include "framework/reduce/flat_layout.hpp"

namespace scorenet::reduce {

/// What a BucketTraffic gets. All of it outlives the BucketTraffic.
struct TrafficContext {
  torch::Tensor flat_gradient;
  const std::vector<torch::Tensor>& parameters;  // registration order
  const FlatLayout& layout;
  const std::vector<Bucket>& buckets;
  comm::Communicator& communicator;
  const std::vector<std::string>& names;  // of the parameters
};

/// What a BucketTraffic keeps from step to step, for the checkpoint. Shares memory with it.
struct TrafficState {
  enum class Kind {
    summed,  // (layout.total), each rank its own: their sum counts, and any shares of it will do
    equal,   // of any shape, the same on all ranks
  };
  std::string name;
  Kind kind = Kind::equal;
  torch::Tensor values;
};

class BucketTraffic {
 public:
  virtual ~BucketTraffic() = default;

  virtual void start(int64_t bucket) = 0;
  virtual void advance(int64_t) {}
  /// When it returns, the bucket's gradients are their sum over the ranks, as this way of
  /// travelling gives it.
  virtual void complete(int64_t bucket) = 0;
  /// The same for work that the device is given from now on; the host does not wait unless it must.
  virtual void join(int64_t bucket) { complete(bucket); }
  /// Waits for what join() did not wait for. Throws CommError as complete() does.
  virtual void settle() {}
  /// Called between gradients: MPI's non-blocking collectives advance only inside calls to it.
  virtual void poll() {}
  virtual std::vector<TrafficState> state() const { return {}; }

  int64_t calls() const { return calls_; }
  int64_t bytes() const { return bytes_; }

 protected:
  /// Counts an operation that carries `bytes`, once.
  void count(int64_t bytes) {
    ++calls_;
    bytes_ += bytes;
  }

 private:
  int64_t calls_ = 0;  // since construction
  int64_t bytes_ = 0;
};

using MakeTraffic = std::function<std::unique_ptr<BucketTraffic>(const TrafficContext&)>;

/// All-reduce in place: the gradients become their sum. float32, float64, bfloat16 or float16;
/// throws ShapeError otherwise.
MakeTraffic all_reduce_traffic();

/// Reduce-scatter: this rank's part of the sum arrives in `part` (Shards over the buckets as
/// segments); the flat gradient itself stays this rank's own. float32.
class Shards;
MakeTraffic scatter_traffic(const Shards& shards, torch::Tensor part);

}  // namespace scorenet::reduce
