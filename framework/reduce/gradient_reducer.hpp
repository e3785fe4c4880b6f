// Sums gradients over the ranks while backward is still running.
//
// Every parameter's .grad is a view of one flat buffer that the caller owns. A bucket
// (bucket_plan.hpp) is a contiguous span of it. As soon as all its gradients are complete it starts
// to travel (bucket_traffic.hpp; by default an all-reduce in place). Buckets are launched in the
// same order on all ranks: by offset in the first synchronised backward, and from the second on in
// the order that rank zero observed in the first. Whether they travel during backward or after it
// may be measured (overlap_trial.hpp). The sum is a plain sum: weight each example by
// 1 / (global count) before backward, so that partial batches carry their true weight.
//
//     reducer.zero_gradients();
//     for (each micro-batch) { reducer.begin(last_one); loss.backward(); }
//     reducer.finish();                    // now .grad holds the sum over ranks and micro-batches
//
// With one rank there are no hooks and no traffic. REQUIRES: backward runs its hooks on one thread
// at a time.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "framework/comm/communicator.hpp"
#include "framework/reduce/bucket_plan.hpp"
#include "framework/reduce/bucket_traffic.hpp"
#include "framework/reduce/flat_layout.hpp"
#include "framework/reduce/overlap_trial.hpp"

namespace scorenet::reduce {

struct ReducerOptions {
  BucketCaps caps{};
  /// Instead of planning with the caps: spans that cover the layout.
  std::vector<Bucket> buckets{};
  /// How a bucket travels; empty: all_reduce_traffic().
  MakeTraffic traffic{};
  /// Whether a backward pass may leave out parameters; otherwise finish() throws ConfigError
  /// naming the first.
  bool allow_unused = true;
  /// Of the parameters, for errors; may be empty.
  std::vector<std::string> names{};
  Overlap overlap = Overlap::on;
  /// The communicator for host memory, if that of the gradients carries device memory only (NCCL).
  /// Null: the gradients' communicator.
  comm::Communicator* host = nullptr;
};

/// When a bucket's gradients were complete, when its all-reduce was started and when finish() saw
/// that it was done; seconds since begin().
struct BucketTimes {
  double ready_s = 0;  // 0 if some parameter got no gradient
  double start_s = 0;
  double done_s = 0;
};

/// Of the last synchronised step.
struct ReducerStats {
  int64_t calls = 0;           // collectives that carry gradients
  int64_t bytes = 0;           // that they carry, once each
  double begin_wall_s = 0;     // begin(), in comm::wall_seconds()
  double exposed_seconds = 0;  // spent in finish(): traffic that backward did not hide
  /// From begin() to the first launch: this rank's own speed, without any wait for other ranks.
  double before_first_seconds = 0;
  /// Buckets that were complete but had to wait for an earlier one of launch_order(). If there are
  /// any, the order no longer fits the graph; see reobserve().
  int64_t overtaken = 0;
  int64_t unused_parameters = 0;  // that got no gradient in the synchronised backward
  std::vector<BucketTimes> buckets{};
};

class GradientReducer {
 public:
  /// parameters: leaves (frozen ones may be among them) of one dtype and device, registration
  /// order. flat_gradient: (layout.total), the same dtype and device; parameter i's .grad becomes
  /// its view at layout.offsets[i] with the parameter's own sizes and strides. `communicator` must
  /// outlive the reducer. All ranks must give equal shapes. Throws ShapeError if a size does not
  /// match the layout or a parameter is not dense, ConfigError for a bad cap.
  GradientReducer(std::vector<torch::Tensor> parameters, torch::Tensor flat_gradient,
                  const FlatLayout& layout, comm::Communicator& communicator,
                  const ReducerOptions& options);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  /// Sets the flat buffer to zero, padding included. Once before the micro-batches of a step.
  /// (Never set .grad to undefined: the views are the buckets.)
  void zero_gradients();

  /// Before each backward. synchronise: this is the step's last micro-batch, whose backward starts
  /// the traffic; the others only accumulate.
  void begin(bool synchronise);

  /// After the synchronised backward: launches the buckets whose parameters got no gradient, waits
  /// for all. Throws CommError as the communicator does, ShapeError if some .grad no longer is
  /// its view of the bucket, and ConfigError for an unused parameter that is not allowed.
  void finish();

  /// As finish(), for work that the device is given from now on: the host goes on at once, if the
  /// communicator allows it. Call settle() before the next synchronised backward: it throws what
  /// finish() would have thrown.
  void finish_on_device();
  void settle();

  /// Forgets the observed order and observes again in the next synchronised step. For a graph that
  /// has changed. Call it on all ranks in the same step.
  void reobserve();

  const std::vector<Bucket>& buckets() const;
  /// Bucket indices in the order they are launched, the same on all ranks.
  const std::vector<int64_t>& launch_order() const;
  /// Parameter indices in the order in which their gradients were ready on rank zero; empty before
  /// the first synchronised step. A layout made from it (make_flat_layout) fits this graph exactly.
  const std::vector<int64_t>& observed_order() const;
  const ReducerStats& stats() const;
  /// Whether traffic overlaps with backward, and what was measured of it.
  const OverlapTrial& overlap() const;
  /// See BucketTraffic::state.
  std::vector<TrafficState> traffic_state() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace scorenet::reduce
