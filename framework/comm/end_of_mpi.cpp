#include "framework/comm/end_of_mpi.hpp"

#include <mpi.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "framework/core/error.hpp"
#include "framework/core/host_name.hpp"

namespace scorenet::comm {
namespace {

[[noreturn]] void give_up(int rank, double limit_s) {
  std::fprintf(stderr,
               "[rank %d %s] MPI did not end within %g s (comm.heartbeat_limit_s), although this "
               "rank's work is done: another rank or the launcher is frozen or unreachable. Check "
               "the hosts; the same command goes on from what was saved.\n",
               rank, host_name().c_str(), limit_s);
  std::fflush(nullptr);
  std::_Exit(int(ExitCode::communication));
}

}  // namespace

void finalize_mpi(int rank, double limit_s) {
  if (!(limit_s > 0)) {
    MPI_Finalize();
    return;
  }
  std::mutex mutex;
  std::condition_variable changed;
  bool ended = false;
  std::thread watch([&] {
    std::unique_lock lock(mutex);
    const std::chrono::duration<double> limit(limit_s);
    if (!changed.wait_for(lock, limit, [&] { return ended; })) give_up(rank, limit_s);
  });
  MPI_Finalize();
  {
    const std::lock_guard lock(mutex);
    ended = true;
  }
  changed.notify_all();
  watch.join();
}

void abort_mpi(int exit_code) noexcept {
  std::thread([exit_code] {
    std::this_thread::sleep_for(std::chrono::seconds(10));
    std::_Exit(exit_code);
  }).detach();
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);  // MPI_Abort may return before the process ends
}

}  // namespace scorenet::comm
