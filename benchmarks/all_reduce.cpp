// Our MPI path against bare MPI_Allreduce, interleaved.
//
//     mpirun -n 2 build/benchmarks/all_reduce_benchmark [repetitions] [threaded KiB]
//
// threaded KiB: from which size on the thread of all_reduce_thread.hpp takes over. Checks both results first, then prints for
// each size median, least and greatest time of both and the bus bandwidth 2 (n-1)/n S / t of the medians; the ratio is the
// median over the pairs. Load and rank count stand in the first line: on a shared machine read the medians.
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "framework/comm/mpi_communicator.hpp"

namespace {

using scorenet::comm::Buffer;
using scorenet::comm::Clock;
using scorenet::comm::DataType;
using scorenet::comm::ReduceOp;

struct Times {
  std::vector<double> seconds;

  double median() {
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
  }
  double least() const { return *std::min_element(seconds.begin(), seconds.end()); }
  double greatest() const { return *std::max_element(seconds.begin(), seconds.end()); }
};

template <typename Call>
double timed(Call call) {
  MPI_Barrier(MPI_COMM_WORLD);
  const auto start = Clock::now();
  call();
  double seconds = scorenet::comm::seconds_since(start);
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  const int repetitions = argc > 1 ? std::atoi(argv[1]) : 15;
  const scorenet::comm::MpiEnvironment environment;
  scorenet::comm::MpiOptions options;
  if (argc > 2) options.threaded_bytes = std::atoll(argv[2]) << 10;
  const auto c = scorenet::comm::make_mpi_communicator(environment, options);
  const int n = c->size();
  double load = 0;
  getloadavg(&load, 1);
  if (c->rank() == 0) {
    std::printf("all-reduce of float32 sums, %d ranks, %d interleaved pairs, load %.1f, %s\n", n,
                repetitions, load, environment.library().substr(0, 16).c_str());
    std::printf("%8s  %-32s %-32s %7s\n", "MiB", "ours ms: median (least..most)",
                "MPI_Allreduce ms", "ratio");
  }
  for (const int64_t mib : {1, 4, 16, 64, 256}) {
    const int64_t count = (mib << 20) / 4;
    std::vector<float> a(size_t(count), float(c->rank()));
    std::vector<float> b = a;
    const auto ours = [&] {
      c->all_reduce({a.data(), count, DataType::float32}, ReduceOp::sum, "benchmark").wait();
    };
    const auto bare = [&] {
      MPI_Allreduce(MPI_IN_PLACE, b.data(), int(count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    };
    ours();
    bare();
    const float expected = float(n * (n - 1)) / 2;
    if (a != b || a.front() != expected || a.back() != expected) {
      std::printf("wrong sum on rank %d\n", c->rank());
      c->abort(1);
    }
    Times t_ours;
    Times t_bare;
    Times ratios;
    for (int i = 0; i < repetitions; ++i) {
      // Each has written its own buffer just before, or the one written last would be in the caches; and by turns.
      const auto run_ours = [&] {
        std::fill(a.begin(), a.end(), 1.0f);
        t_ours.seconds.push_back(timed(ours));
      };
      if (i % 2 == 0) run_ours();
      std::fill(b.begin(), b.end(), 1.0f);
      t_bare.seconds.push_back(timed(bare));
      if (i % 2 == 1) run_ours();
      ratios.seconds.push_back(t_ours.seconds.back() / t_bare.seconds.back());
    }
    if (c->rank() == 0) {
      const double o = t_ours.median();
      const double m = t_bare.median();
      std::printf("%8lld  %8.2f (%8.2f..%8.2f)    %8.2f (%8.2f..%8.2f)    %6.2f   %.2f GB/s\n",
                  static_cast<long long>(mib), o * 1e3, t_ours.least() * 1e3,
                  t_ours.greatest() * 1e3, m * 1e3, t_bare.least() * 1e3, t_bare.greatest() * 1e3,
                  ratios.median(), 2.0 * (n - 1) / n * double(count) * 4 / o / 1e9);
    }
  }
  return 0;
}
