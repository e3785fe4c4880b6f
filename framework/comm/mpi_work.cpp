#include "framework/comm/mpi_work.hpp"

#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <thread>

#include "framework/comm/mpi_detail.hpp"

namespace scorenet::comm {
namespace {

/// Leaves the core to others while nothing arrives: gives way at first, naps once the
/// operation is late (rank zero evaluates), for 1/100 of the time already waited. "Late":
/// later than at 100 MB/s.
void idle(double elapsed_s, int64_t bytes) {
  const double late_s = elapsed_s - 0.5 - double(bytes) / 100e6;
  if (late_s <= 0) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::chrono::duration<double>(std::min(0.005, elapsed_s / 100)));
  }
}

}  // namespace

void MpiShared::fail(const Operation& operation, const std::string& reason) {
  failed = true;
  if (recorder) recorder->dump();
  throw CommError(describe(operation) + " on " + describe(place) + ": " + reason);
}

MpiWork::MpiWork(std::shared_ptr<MpiShared> shared, Operation operation)
    : shared_(std::move(shared)), operation_(std::move(operation)), start_(Clock::now()) {
  if (shared_->recorder) record_ = shared_->recorder->start(operation_);
}

void MpiWork::wait() {
  const auto wait_start = Clock::now();
  while (!is_done()) {
    const double elapsed_s = seconds_since(wait_start);
    if (elapsed_s > shared_->limits.of(shared_->vitals->phase)) too_late(elapsed_s);
    rest(elapsed_s);
  }
}

bool MpiWork::is_done() {
  if (done_) return true;
  if (shared_->failed) {
    throw CommError(describe(operation_) + " on " + describe(shared_->place) +
                    ": given up, because an earlier operation failed.");
  }
  try {
    done_ = poll();
  } catch (const CommError& e) {
    shared_->fail(operation_, e.what());
  }
  if (done_ && shared_->recorder) shared_->recorder->finish(record_);
  return done_;
}

void MpiWork::rest(double elapsed_s) { idle(elapsed_s, operation_.bytes()); }

void MpiWork::finish_quietly() noexcept {
  if (done_ || shared_->failed) return;
  try {
    wait();
  } catch (const CommError& e) {
    std::fprintf(stderr, "%s\n", e.what());
  }
}

void MpiWork::too_late(double elapsed_s) {
  const Phase phase = shared_->vitals->phase;
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(),
                "no answer from the other ranks for %.1f s (limit of phase %s: %g s), %.1f s after "
                "its start. A rank is lost, frozen or does something else; see its log.",
                elapsed_s, name(phase), shared_->limits.of(phase), seconds_since(start_));
  shared_->fail(operation_, text.data());
}

bool RequestWork::poll() {
  int flag = 0;
  check(MPI_Testall(int(requests_.size()), requests_.data(), &flag, MPI_STATUSES_IGNORE),
        "MPI_Testall");
  return flag != 0;
}

bool ThreadedWork::poll() {
  const bool done = shared_->thread->is_done(*task_);
  if (done && !task_->error.empty()) throw CommError(task_->error);
  return done;
}

void ThreadedWork::rest(double) { shared_->thread->wait(*task_, 0.1); }

bool BlockingWork::poll() {
  if (shared_->thread && !shared_->thread->is_idle()) return false;
  if (!arrival_) arrival_.emplace(comm_);
  if (!arrival_->is_complete()) return false;
  run_();
  return true;
}

void BlockingWork::rest(double elapsed_s) { nap_for_late_ranks(elapsed_s); }

}  // namespace scorenet::comm
