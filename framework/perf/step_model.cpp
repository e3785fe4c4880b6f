#include "framework/perf/step_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "framework/reduce/flat_layout.hpp"

namespace scorenet::perf {
namespace {

constexpr int64_t kElementBytes = 4;

std::vector<reduce::Bucket> buckets_of(const StepCosts& costs, const reduce::BucketCaps& caps) {
  std::vector<int64_t> sizes;
  for (const ParameterCost& p : costs.parameters) sizes.push_back(p.elements);
  return reduce::plan_buckets(reduce::make_flat_layout(sizes), kElementBytes, caps);
}

double total_backward(const StepCosts& costs) {
  double total = 0;
  for (const ParameterCost& p : costs.parameters) total += p.backward_s;
  return total;
}

}  // namespace

double alone_seconds(const StepCosts& costs) {
  return costs.forward_s + total_backward(costs) + costs.optimizer_s;
}

StepPrediction predict_step(const StepCosts& costs, const Cluster& cluster, int ranks,
                            const reduce::BucketCaps& caps) {
  const double backward_s = total_backward(costs);
  const bool sharded = costs.sharded && ranks > 1;
  const double traffic = sharded ? 0.5 : 1.0;  // of an all-reduce, while backward runs
  StepPrediction prediction;
  prediction.alone_s = alone_seconds(costs);
  double ready_s = 0;
  double link_free_s = 0;
  double after_s = 0;
  for (const reduce::Bucket& bucket : buckets_of(costs, caps)) {
    for (const int64_t p : bucket.parameters) ready_s += costs.parameters[size_t(p)].backward_s;
    const double start_s = std::max(ready_s, link_free_s);
    const double all_reduce_s = all_reduce_seconds(cluster, ranks, bucket.count * kElementBytes);
    link_free_s = start_s + traffic * all_reduce_s;
    after_s += (1 - traffic) * all_reduce_s;
  }
  prediction.exposed_s = ranks > 1 ? std::max(0.0, link_free_s - backward_s) + after_s : 0;
  const double slowest_s = ranks > 1 ? costs.jitter_s * std::sqrt(2 * std::log(double(ranks))) : 0;
  const double saved_s = sharded ? costs.optimizer_s * (ranks - 1) / ranks : 0;
  prediction.step_s = prediction.alone_s - saved_s + prediction.exposed_s + slowest_s;
  prediction.efficiency = prediction.alone_s / prediction.step_s;
  return prediction;
}

reduce::BucketCaps choose_caps(const StepCosts& costs, const Cluster& cluster, int ranks) {
  reduce::BucketCaps best;
  double best_s = -1;
  for (int64_t cap = int64_t{256} << 20; cap >= int64_t{256} << 10; cap /= 2) {
    for (const int64_t ends : {cap, cap / 4}) {
      const reduce::BucketCaps caps{cap, ends, ends};
      const double step_s = predict_step(costs, cluster, ranks, caps).step_s;
      if (best_s < 0 || step_s < best_s) {
        best = caps;
        best_s = step_s;
      }
    }
  }
  return best;
}

int64_t state_bytes(int64_t elements, int ema_copies, int ranks, bool sharded) {
  const int64_t whole = 2 * elements;                  // weights, gradients
  const int64_t shared = (2 + ema_copies) * elements;  // moments, EMA
  return kElementBytes * (whole + (sharded ? (shared + ranks - 1) / ranks : shared));
}

std::vector<ScalingRow> predict_scaling(const StepCosts& costs, const Cluster& cluster,
                                        const std::vector<int>& rank_counts, int ema_copies) {
  int64_t elements = 0;
  for (const ParameterCost& p : costs.parameters) elements += p.elements;
  std::vector<ScalingRow> rows;
  for (const int ranks : rank_counts) {
    const reduce::BucketCaps caps = choose_caps(costs, cluster, ranks);
    rows.push_back({ranks, caps, predict_step(costs, cluster, ranks, caps),
                    state_bytes(elements, ema_copies, ranks, costs.sharded)});
  }
  return rows;
}

std::string scaling_table(const std::vector<ScalingRow>& rows) {
  std::string text =
      "predicted (not measured)\n"
      "   ranks   cap MiB   step ms   exposed ms   efficiency   state GB a rank\n";
  for (const ScalingRow& row : rows) {
    std::array<char, 128> line{};
    std::snprintf(line.data(), line.size(), "%8d  %8.2f  %8.2f  %11.3f  %9.1f %%  %16.3f\n",
                  row.ranks, double(row.caps.cap_bytes) / (1 << 20), row.prediction.step_s * 1e3,
                  row.prediction.exposed_s * 1e3, row.prediction.efficiency * 100,
                  double(row.state_bytes) * 1e-9);
    text += line.data();
  }
  return text;
}

}  // namespace scorenet::perf
