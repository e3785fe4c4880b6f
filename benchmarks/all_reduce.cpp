// Our MPI path against bare MPI, interleaved: all_reduce_now, whose caller waits, against
// MPI_Allreduce; and all_reduce(...).wait(), which could overlap with computing, against
// MPI_Iallreduce with MPI_Wait.
//
//     mpirun -n 2 build/benchmarks/all_reduce_benchmark [repetitions] [threaded KiB]
//
// threaded KiB: from which size on MPI's blocking call takes over from its non-blocking one. Checks
// all results first, then prints for each size medians (least..greatest) in ms, and the medians
// over the rounds of three ratios: now / MPI_Allreduce, wait / MPI_Iallreduce,
// wait / MPI_Allreduce; last the bus bandwidth 2 (n-1)/n S / t of all_reduce_now's median. The
// allocator is tuned as scorenet's is, which halves MPI's own times from 32 MiB on. Load and rank
// count stand in the first line.
#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "framework/comm/mpi_communicator.hpp"
#include "framework/core/allocator.hpp"
#include "framework/core/median.hpp"

namespace {

using scorenet::median;
using scorenet::comm::Clock;
using scorenet::comm::Communicator;
using scorenet::comm::DataType;
using scorenet::comm::ReduceOp;

// One way to sum a buffer of its own over the ranks.
struct Way {
  std::function<void(std::vector<float>&)> sum;
  std::vector<float> values{};
  std::vector<double> seconds{};
};

double median_ratio(const Way& a, const Way& b) {
  std::vector<double> ratio;
  for (size_t i = 0; i < a.seconds.size(); ++i) ratio.push_back(a.seconds[i] / b.seconds[i]);
  return median(ratio);
}

// The slowest rank's time. The buffer is written just before, or the one written last would be
// in the caches.
void time_one(Way& way) {
  std::fill(way.values.begin(), way.values.end(), 1.0f);
  MPI_Barrier(MPI_COMM_WORLD);
  const auto start = Clock::now();
  way.sum(way.values);
  double seconds = scorenet::comm::seconds_since(start);
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  way.seconds.push_back(seconds);
}

std::array<Way, 4> ways(Communicator& c) {
  const auto buffer = [](std::vector<float>& v) {
    return scorenet::comm::Buffer{v.data(), int64_t(v.size()), DataType::float32};
  };
  return {Way{[&c, buffer](std::vector<float>& v) {
            c.all_reduce_now(buffer(v), ReduceOp::sum, "benchmark");
          }},
          Way{[](std::vector<float>& v) {
            MPI_Allreduce(MPI_IN_PLACE, v.data(), int(v.size()), MPI_FLOAT, MPI_SUM,
                          MPI_COMM_WORLD);
          }},
          Way{[&c, buffer](std::vector<float>& v) {
            c.all_reduce(buffer(v), ReduceOp::sum, "benchmark").wait();
          }},
          Way{[](std::vector<float>& v) {
            MPI_Request request = MPI_REQUEST_NULL;
            MPI_Iallreduce(MPI_IN_PLACE, v.data(), int(v.size()), MPI_FLOAT, MPI_SUM,
                           MPI_COMM_WORLD, &request);
            MPI_Wait(&request, MPI_STATUS_IGNORE);
          }}};
}

void check_sums(std::array<Way, 4>& all, int64_t count, Communicator& c) {
  const int n = c.size();
  const float expected = float(n * (n - 1)) / 2;
  for (Way& way : all) {
    way.values.assign(size_t(count), float(c.rank()));
    way.sum(way.values);
    if (std::count(way.values.begin(), way.values.end(), expected) == count) continue;
    std::printf("wrong sum on rank %d\n", c.rank());
    c.abort(1);
  }
}

void print(int64_t mib, const std::array<Way, 4>& all, int n) {
  std::printf("%4lld", static_cast<long long>(mib));
  for (const Way& way : all) {
    const auto [least, most] = std::minmax_element(way.seconds.begin(), way.seconds.end());
    std::printf("  %8.3f (%7.2f..%7.2f)", median(way.seconds) * 1e3, *least * 1e3, *most * 1e3);
  }
  const double bytes = 2.0 * (n - 1) / n * double(mib << 20);
  std::printf("  %5.2f %5.2f %5.2f  %5.2f GB/s\n", median_ratio(all[0], all[1]),
              median_ratio(all[2], all[3]), median_ratio(all[2], all[1]),
              bytes / median(all[0].seconds) / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  scorenet::tune_allocator();
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
  const scorenet::comm::MpiEnvironment environment;
  scorenet::comm::MpiOptions options;
  if (argc > 2) options.threaded_bytes = std::atoll(argv[2]) << 10;
  const auto c = scorenet::comm::make_mpi_communicator(environment, options);
  double load = 0;
  getloadavg(&load, 1);
  if (c->rank() == 0) {
    std::printf("all-reduce of float32 sums, %d ranks, %d interleaved rounds, load %.1f, %s\n",
                c->size(), rounds, load, environment.library().substr(0, 16).c_str());
    std::printf("%4s  %-27s %-27s %-27s %-27s %s\n", "MiB", "now, ms", "MPI_Allreduce", "wait",
                "MPI_Iallreduce", "now/A wait/I wait/A");
  }
  for (const int64_t mib : {1, 4, 16, 64, 256}) {
    auto all = ways(*c);
    check_sums(all, (mib << 20) / 4, *c);
    // In a random order, the same on all ranks, and each with every buffer in turn: whoever always
    // follows MPI_Iallreduce is up to a half slower, and whoever always has a buffer that lies
    // badly in the caches a quarter.
    std::array<size_t, 4> order{0, 1, 2, 3};
    std::mt19937 random(1);
    for (int i = 0; i < rounds; ++i) {
      std::shuffle(order.begin(), order.end(), random);
      for (size_t k = 1; k < all.size(); ++k) std::swap(all[k - 1].values, all[k].values);
      for (const size_t k : order) time_one(all[k]);
    }
    if (c->rank() == 0) print(mib, all, c->size());
  }
  return 0;
}
