// Predicts the time of a data-parallel training step.
//
// Backward makes gradients ready one after the other. A bucket travels as soon as its last gradient
// is ready and the link is free. The optimizer starts when backward and the last bucket are done.
// The step of n ranks is that of the slowest rank: if the ranks' times vary normally with standard
// deviation s, it is at most about s sqrt(2 ln n) longer. The model leaves out that traffic and
// compute share memory and cores, so real efficiencies are lower. tests/framework/perf compares it
// with ranks that sleep.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/perf/link_model.hpp"
#include "framework/reduce/bucket_plan.hpp"

namespace scorenet::perf {

/// One parameter: registration order, as everywhere.
struct ParameterCost {
  int64_t elements = 0;
  double backward_s = 0;  // of the part of backward that makes its gradient
};

struct StepCosts {
  double forward_s = 0;
  std::vector<ParameterCost> parameters;
  double optimizer_s = 0;
  double jitter_s = 0;  // standard deviation of a rank's compute
  /// ZeRO stage 1: half an all-reduce (reduce-scatter) for each bucket while backward runs, the
  /// other half (all-gather of the weights) after the optimizer, which takes 1 / ranks of its time.
  bool sharded = false;
};

struct StepPrediction {
  double step_s = 0;
  double alone_s = 0;     // one rank, same local batch
  double exposed_s = 0;   // traffic that backward does not hide
  double efficiency = 1;  // alone_s / step_s
};

/// Of one rank alone.
double alone_seconds(const StepCosts& costs);

/// float32 gradients. Throws ConfigError as plan_buckets does.
StepPrediction predict_step(const StepCosts& costs, const Cluster& cluster, int ranks,
                            const reduce::BucketCaps& caps);

/// The caps, out of powers of two from 256 KiB to 256 MiB with a first and last bucket of a quarter
/// or all of it, that make the predicted step shortest; on a tie the larger buckets.
reduce::BucketCaps choose_caps(const StepCosts& costs, const Cluster& cluster, int ranks);

/// Bytes a rank holds for weights, gradients, two moments and the EMA copies, all float32; sharded:
/// moments and EMA copies over the ranks (ZeRO stage 1).
int64_t state_bytes(int64_t elements, int ema_copies, int ranks, bool sharded);

struct ScalingRow {
  int ranks = 1;
  reduce::BucketCaps caps;
  StepPrediction prediction;
  int64_t state_bytes = 0;  // a rank
};

/// For each rank count the caps that choose_caps finds best and what they give.
std::vector<ScalingRow> predict_scaling(const StepCosts& costs, const Cluster& cluster,
                                        const std::vector<int>& rank_counts, int ema_copies);

/// A text table, "predicted" in its heading: ranks, cap, step, exposed, efficiency, memory.
std::string scaling_table(const std::vector<ScalingRow>& rows);

}  // namespace scorenet::perf
