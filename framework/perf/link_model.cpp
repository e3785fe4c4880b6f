#include "framework/perf/link_model.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "framework/core/error.hpp"
#include "framework/core/median.hpp"

namespace scorenet::perf {
namespace {

// A ring's half (reduce-scatter or all-gather).
double half_ring_seconds(const LinkModel& link, int ranks, double bytes) {
  const double n = ranks;
  return (n - 1) * link.latency_s + (n - 1) / n * bytes / link.bandwidth_bytes_per_s;
}

}  // namespace

double all_reduce_seconds(const LinkModel& link, int ranks, int64_t bytes) {
  if (ranks <= 1) return 0;
  const double log2_n = std::bit_width(unsigned(ranks - 1));
  const double tree = 2 * log2_n * link.latency_s + 2 * double(bytes) / link.bandwidth_bytes_per_s;
  return std::min(2 * half_ring_seconds(link, ranks, double(bytes)), tree);
}

double all_reduce_seconds(const Cluster& cluster, int ranks, int64_t bytes) {
  const int local = std::min(cluster.ranks_per_host, ranks);
  if (local <= 1) return all_reduce_seconds(cluster.network, ranks, bytes);
  const int hosts = (ranks + local - 1) / local;
  return 2 * half_ring_seconds(cluster.local, local, double(bytes)) +
         all_reduce_seconds(cluster.network, hosts, bytes / local);
}

LinkModel fit_link(const std::vector<Timing>& timings, int ranks) {
  if (timings.size() < 2 || ranks < 2) {
    throw ConfigError("link fit: " + std::to_string(timings.size()) + " sizes on " +
                      std::to_string(ranks) + " ranks; at least 2 of both are needed.");
  }
  // Normal equations of sum ((x a + y b) / t - 1)^2 with b = 1 / B.
  const double n = ranks;
  double xx = 0, xy = 0, yy = 0, x1 = 0, y1 = 0;
  for (const Timing& t : timings) {
    const double x = 2 * (n - 1) / t.seconds;
    const double y = 2 * (n - 1) / n * double(t.bytes) / t.seconds;
    xx += x * x;
    xy += x * y;
    yy += y * y;
    x1 += x;
    y1 += y;
  }
  const double determinant = xx * yy - xy * xy;
  double a = (x1 * yy - y1 * xy) / determinant;
  double b = (y1 * xx - x1 * xy) / determinant;
  // A part that is not positive is noise, and no link has none of it: what the smallest message
  // took bounds the latency, what the largest took the time a byte.
  const auto [small, large] = std::minmax_element(
      timings.begin(), timings.end(),
      [](const Timing& one, const Timing& other) { return one.bytes < other.bytes; });
  if (!(a > 0)) {
    a = small->seconds / (2 * (n - 1));
    b = y1 / yy;
  } else if (!(b > 0)) {
    b = large->seconds * n / (2 * (n - 1) * double(large->bytes));
    a = x1 / xx;
  }
  return {a, 1 / b};
}

std::vector<Timing> measure_all_reduce(comm::Communicator& carrier, comm::Communicator& control,
                                       void* memory, const std::vector<int64_t>& sizes_bytes,
                                       int repetitions) {
  std::vector<Timing> result;
  for (const int64_t bytes : sizes_bytes) {
    const comm::Buffer buffer{memory, bytes / 4, comm::DataType::float32};
    std::vector<double> seconds;
    for (int i = 0; i <= repetitions; ++i) {
      control.barrier("calibration").wait();
      const auto start = comm::Clock::now();
      carrier.all_reduce(buffer, comm::ReduceOp::sum, "calibration").wait();
      double mine = comm::seconds_since(start);
      control.all_reduce({&mine, 1, comm::DataType::float64}, comm::ReduceOp::max, "calibration")
          .wait();
      if (i > 0) seconds.push_back(mine);
    }
    result.push_back({bytes, median(seconds)});
  }
  return result;
}

}  // namespace scorenet::perf
