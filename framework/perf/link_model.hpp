// A model of the time of a collective, and its measurement: t = c_a a + c_b S / B, with a the
// latency of a message and B the bandwidth of a rank's link.
//
// Ring: 2 (n-1) a + 2 (n-1)/n S / B; binary tree: 2 ceil(log2 n) a + 2 S / B (Thakur,
// Rabenseifner, Gropp 2005).
#pragma once

#include <cstdint>
#include <vector>

#include "framework/comm/communicator.hpp"

namespace scorenet::perf {

struct LinkModel {
  double latency_s = 0;
  double bandwidth_bytes_per_s = 0;  // > 0
};

/// Seconds of an all-reduce of `bytes` over `ranks` ranks: ring or tree, whichever is faster.
double all_reduce_seconds(const LinkModel& link, int ranks, int64_t bytes);

/// Machines of ranks_per_host ranks: reduce-scatter inside each machine, all-reduce of the parts
/// between the machines (every rank its own part), all-gather inside. With one rank a machine it is
/// `network` alone.
struct Cluster {
  LinkModel network;
  LinkModel local{};
  int ranks_per_host = 1;
};
double all_reduce_seconds(const Cluster& cluster, int ranks, int64_t bytes);

struct Timing {
  int64_t bytes = 0;
  double seconds = 0;
};

/// The ring's a and B that fit the timings best, in least squares of the relative errors; both are
/// kept > 0: where the fit says otherwise, a is at most what the smallest message took, and 1 / B
/// what the largest did. Throws ConfigError for fewer than two sizes or ranks < 2.
LinkModel fit_link(const std::vector<Timing>& timings, int ranks);

/// All-reduces float32 sums of each size `repetitions` times after one for warming up; per size the
/// median over the repetitions of the slowest rank's time, the same on all ranks. Collective.
/// carrier: what is measured; `memory` is its kind of memory, at least the largest size, and holds
/// zeros afterwards if it did before. control: carries host memory, for the times themselves.
std::vector<Timing> measure_all_reduce(comm::Communicator& carrier, comm::Communicator& control,
                                       void* memory, const std::vector<int64_t>& sizes_bytes,
                                       int repetitions);

}  // namespace scorenet::perf
