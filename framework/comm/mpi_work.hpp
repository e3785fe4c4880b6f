// Operations of MpiCommunicator that are under way: what a wait polls, its deadline, and what a
// failure does to the other operations. Only for this folder: it includes <mpi.h>.
#pragma once

#include <mpi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/comm/all_reduce_thread.hpp"
#include "framework/comm/mpi_communicator.hpp"
#include "framework/comm/operation.hpp"

namespace scorenet::comm {

/// What the communicator and its operations share.
struct MpiShared {
  Place place;
  PhaseLimits limits;
  std::shared_ptr<Vitals> vitals;
  std::shared_ptr<FlightRecorder> recorder;
  std::unique_ptr<AllReduceThread> thread;  // null where MPI takes one thread only
  // After one failure the ranks no longer run the same operations: nothing is waited for.
  std::atomic<bool> failed{false};

  [[noreturn]] void fail(const Operation& operation, const std::string& reason);
};

/// An operation under way; how it is polled is the subclass's business.
class MpiWork : public Work::State {
 public:
  MpiWork(std::shared_ptr<MpiShared> shared, Operation operation);
  void wait() override;
  bool is_done() override;

 protected:
  virtual bool poll() = 0;
  /// What a wait does between two polls.
  virtual void rest(double elapsed_s);
  /// For destructors: waits for an operation that nobody waited for. Errors can only be printed.
  void finish_quietly() noexcept;

  std::shared_ptr<MpiShared> shared_;
  Operation operation_;

 private:
  [[noreturn]] void too_late(double elapsed_s);

  Clock::time_point start_;
  int64_t record_ = 0;
  bool done_ = false;
};

/// MPI's own non-blocking calls.
class RequestWork final : public MpiWork {
 public:
  RequestWork(std::shared_ptr<MpiShared> shared, Operation operation,
              std::vector<MPI_Request> requests)
      : MpiWork(std::move(shared), std::move(operation)), requests_(std::move(requests)) {}
  ~RequestWork() override { finish_quietly(); }

 private:
  bool poll() override;

  std::vector<MPI_Request> requests_;
};

/// A blocking call on the all-reduce thread, which must be there.
class ThreadedWork final : public MpiWork {
 public:
  ThreadedWork(std::shared_ptr<MpiShared> shared, Operation operation, std::function<void()> run)
      : MpiWork(std::move(shared), std::move(operation)),
        task_(shared_->thread->push(std::move(run))) {}
  ~ThreadedWork() override { finish_quietly(); }

 private:
  bool poll() override;
  void rest(double elapsed_s) override;

  std::shared_ptr<AllReduceThread::Task> task_;
};

/// MPI's blocking call in the waiting thread itself, after all ranks have arrived and while the
/// all-reduce thread is idle. It saves two thread switches (6 us), a tenth of a small all-reduce.
/// The wait for the other ranks has the usual deadline. Inside the call only the heartbeat can find
/// a frozen rank.
class BlockingWork final : public MpiWork {
 public:
  BlockingWork(std::shared_ptr<MpiShared> shared, Operation operation, MPI_Comm comm,
               std::function<void()> run)
      : MpiWork(std::move(shared), std::move(operation)), comm_(comm), run_(std::move(run)) {}

 private:
  bool poll() override;
  void rest(double elapsed_s) override;

  MPI_Comm comm_;
  std::function<void()> run_;
  std::optional<Arrival> arrival_;
};

}  // namespace scorenet::comm
