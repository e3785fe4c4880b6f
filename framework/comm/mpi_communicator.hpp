// Host memory between processes, over MPI's non-blocking collectives.
//
// Every wait polls and has a deadline (deadline.hpp). So a lost or frozen rank gives an error that
// names it, and the program does not hang. This header does not include <mpi.h>: only the sources
// of this folder see MPI.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "framework/comm/communicator.hpp"
#include "framework/comm/flight_recorder.hpp"

namespace scorenet::comm {

/// MPI from construction to destruction. One a process, alive as long as any MPI communicator.
///
/// Starts MPI with full thread support where the library has it. A program without a launcher
/// becomes the only rank. If MPI was started by someone else, it is used and left running.
class MpiEnvironment {
 public:
  MpiEnvironment();
  ~MpiEnvironment();
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Whether several threads may call MPI at once (the heartbeat needs it).
  bool thread_multiple() const { return thread_multiple_; }
  /// "Open MPI v4.1.4, ..."
  std::string library() const;
  /// How long the destructor waits for the other ranks and the launcher (end_of_mpi.hpp). 0, as at
  /// first: for ever.
  void limit_end(double seconds) { end_limit_s_ = seconds; }

 private:
  bool owner_ = false;
  bool thread_multiple_ = false;
  int rank_ = 0;
  int size_ = 1;
  double end_limit_s_ = 0;
};

/// What this rank is doing, for the heartbeat to tell the others.
struct Vitals {
  std::atomic<Phase> phase{Phase::start};
  std::atomic<int64_t> step{-1};       // set by the trainer
  std::atomic<int64_t> operations{0};  // collectives started
};

struct MpiOptions {
  PhaseLimits limits{};
  /// Largest number of elements given to one MPI call, whose counts are `int`. Small in tests.
  int64_t chunk_elements = int64_t{1} << 30;
  /// All-reduces of at least this many bytes run on a thread of their own (all_reduce_thread.hpp)
  /// where MPI allows that, others through MPI_Iallreduce.
  int64_t threaded_bytes = int64_t{64} << 10;
  /// Debug mode: every operation is compared over all ranks before it starts, and one that does
  /// not fit is printed from both sides. Costs an exchange of 128 bytes a rank and keeps the
  /// ranks in step.
  bool check_collectives = false;
  /// Shared with the heartbeat, null: own.
  std::shared_ptr<Vitals> vitals{};
  /// Notes every operation and is dumped on failure. Null: none.
  std::shared_ptr<FlightRecorder> recorder{};
};

/// A communicator over all ranks of MPI_COMM_WORLD (a duplicate, so that its messages cannot mix
/// with those of other libraries). Collective. float16 and bfloat16 sums are formed in float32 and
/// rounded after every hop. Throws CommError if MPI refuses.
std::unique_ptr<Communicator> make_mpi_communicator(const MpiEnvironment& environment,
                                                    const MpiOptions& options = {});

}  // namespace scorenet::comm
