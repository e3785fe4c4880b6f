// The interface of everything that moves memory between ranks. Knows bytes and types; no tensors,
// no MPI, no NCCL.
//
// Back ends: SingleCommunicator (one process), MpiCommunicator (CPUs), NcclCommunicator (GPUs),
// SimCommunicator (threads of one process with latency, bandwidth and injected faults). Which exist
// is decided at link time. Every rank must start the same operations in the same order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "framework/comm/deadline.hpp"

namespace scorenet::comm {

enum class DataType { uint8, int32, int64, float16, bfloat16, float32, float64 };
enum class ReduceOp { sum, max, min };

int64_t size_in_bytes(DataType type);
const char* name(DataType type);
const char* name(ReduceOp op);

/// `count` elements at `data`, which the caller keeps alive and untouched until the
/// operation's wait() returns.
struct Buffer {
  void* data = nullptr;
  int64_t count = 0;
  DataType type = DataType::float32;

  int64_t bytes() const { return count * size_in_bytes(type); }
};

/// An operation under way. Move-only; the result may be read only after wait(). Destroying an
/// unfinished one waits.
class Work {
 public:
  class State {
   public:
    virtual ~State() = default;
    virtual void
    wait() = 0;  // throws CommError: rank, operation, sequence number, tag, bytes, elapsed
    virtual bool is_done() = 0;  // also lets the back end make progress
    /// Makes the caller's device wait for the operation. False: the back end cannot do so.
    virtual bool join() { return false; }
  };

  Work() = default;  // already done
  explicit Work(std::unique_ptr<State> state) : state_(std::move(state)) {}
  Work(Work&&) noexcept = default;
  Work& operator=(Work&&) noexcept = default;

  void wait() {
    if (state_) std::exchange(state_, nullptr)->wait();
  }
  bool is_done() { return !state_ || state_->is_done(); }
  /// Work that the device is given from now on sees the result. The host does not wait, if the back
  /// end can avoid it. Call wait() as well: it reports errors.
  void join() {
    if (state_ && !state_->join()) wait();
  }

 private:
  std::unique_ptr<State> state_;
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Index of this rank among the ranks of its machine, and the number of those ranks.
  virtual int local_rank() const = 0;
  virtual int local_size() const = 0;

  /// tag: what the operation is for, as it appears in errors and traces ("gradient bucket 2").
  virtual Work all_reduce(Buffer in_place, ReduceOp op, std::string_view tag) = 0;
  /// The same as all_reduce(...).wait(), for a caller that has nothing else to do meanwhile: it
  /// needs one core instead of two.
  virtual void all_reduce_now(Buffer in_place, ReduceOp op, std::string_view tag) {
    all_reduce(in_place, op, tag).wait();
  }
  virtual Work broadcast(Buffer in_place, int root, std::string_view tag) = 0;
  /// out.count * size() == in.count; rank r receives the r-th part of the reduction.
  virtual Work reduce_scatter(Buffer in, Buffer out, ReduceOp op, std::string_view tag) = 0;
  /// in.count * size() == out.count; parts in rank order.
  virtual Work all_gather(Buffer in, Buffer out, std::string_view tag) = 0;
  /// in.count == out.count == size() parts: part r of `in` goes to rank r, part s of `out` comes
  /// from rank s.
  virtual Work all_to_all(Buffer in, Buffer out, std::string_view tag) = 0;
  virtual Work barrier(std::string_view tag) = 0;

  /// Whether operations may be started while the device's work is recorded (core/device_graph.hpp).
  /// Such an operation becomes part of the recording. It is done at every launch, with what the
  /// buffers hold then. Only join() makes anything wait for it: call it before the recording ends.
  /// All ranks must record the same operations in the same order, each of which has run before,
  /// launch their recordings alike, and destroy these before the communicator.
  virtual bool can_be_recorded() const { return false; }
  /// A work that is done when the device has done all it was given so far. After the launch of
  /// a recording with operations in it: its wait() has their time limit and reports their errors.
  virtual Work watch(std::string_view /*tag*/) { return {}; }

  /// Memory, not zeroed, from which operations travel with the fewest copies; null where any memory
  /// is as good. It frees itself, before or after the communicator.
  virtual std::shared_ptr<void> allocate(int64_t /*bytes*/) { return nullptr; }

  /// Sets the time limit of every wait from now on. The first phase is `start`.
  virtual void set_phase(Phase phase) = 0;

  /// Ends the whole job now: the other ranks may be waiting in a collective for ever.
  [[noreturn]] virtual void abort(int exit_code) noexcept = 0;
};

}  // namespace scorenet::comm
