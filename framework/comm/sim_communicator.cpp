#include "framework/comm/sim_communicator.hpp"

#include <algorithm>
#include <bit>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "framework/comm/host_reduce.hpp"
#include "framework/comm/operation.hpp"
#include "framework/core/error.hpp"

namespace scorenet::comm {
namespace {

using Bytes = std::vector<char>;

/// One collective of all ranks, from the first that starts it to the last that has
/// taken its result.
struct Meeting {
  Operation operation;  // as the first rank to arrive sees it
  int first_rank = -1;
  std::vector<Buffer> in;  // by rank
  std::string mismatch;    // both sides, if they do not fit
  int arrived = 0;
  int left = 0;
  bool complete = false;
  Clock::time_point end;  // when the network is done
  Bytes result;           // of the whole operation
};

/// What the ranks of one simulation share. All members behind `mutex`.
struct World {
  World(int size_in, SimOptions options_in) : size(size_in), options(std::move(options_in)) {}

  const int size;
  const SimOptions options;
  std::mutex mutex;
  std::condition_variable changed;
  std::map<int64_t, std::shared_ptr<Meeting>> meetings;  // by sequence number
  Clock::time_point link_free = Clock::now();
};

Bytes reduce_all(const std::vector<Buffer>& in, ReduceOp op) {
  Bytes result(size_t(in[0].bytes()));
  if (result.empty()) return result;
  std::memcpy(result.data(), in[0].data, result.size());
  for (size_t r = 1; r < in.size(); ++r) {
    reduce_into(in[r].data, result.data(), in[r].count, in[r].type, op);
  }
  return result;
}

Bytes form_result(const Meeting& meeting) {
  const Collective kind = meeting.operation.kind;
  if (kind == Collective::all_reduce || kind == Collective::reduce_scatter) {
    return reduce_all(meeting.in, meeting.operation.op);
  }
  Bytes result;
  if (kind == Collective::broadcast) {
    const Buffer& root = meeting.in[size_t(meeting.operation.root)];
    result.assign(static_cast<char*>(root.data), static_cast<char*>(root.data) + root.bytes());
  } else if (kind == Collective::all_gather) {
    for (const Buffer& part : meeting.in) {
      const char* data = static_cast<char*>(part.data);
      result.insert(result.end(), data, data + part.bytes());
    }
  } else if (kind == Collective::all_to_all) {
    const int64_t part = meeting.in[0].bytes() / int64_t(meeting.in.size());
    for (size_t to = 0; to < meeting.in.size(); ++to) {
      for (const Buffer& from : meeting.in) {
        const char* data = static_cast<char*>(from.data) + int64_t(to) * part;
        result.insert(result.end(), data, data + part);
      }
    }
  }
  return result;
}

class SimWork final : public Work::State {
 public:
  SimWork(World& world, std::shared_ptr<Meeting> meeting, Place place, Operation operation,
          Buffer out, double limit_s)
      : world_(world),
        meeting_(std::move(meeting)),
        place_(std::move(place)),
        operation_(std::move(operation)),
        out_(out),
        limit_s_(limit_s) {}

  ~SimWork() override {
    try {
      if (!done_) wait();
    } catch (const CommError&) {
      // The rank's program is unwinding already or reports the next operation's failure.
    }
  }

  void wait() override {
    std::unique_lock lock(world_.mutex);
    const bool all_here =
        world_.changed.wait_for(lock, std::chrono::duration<double>(limit_s_),
                                [&] { return meeting_->complete || !meeting_->mismatch.empty(); });
    done_ = true;
    if (!meeting_->mismatch.empty()) throw CommError(meeting_->mismatch);
    if (!all_here) throw CommError(late());
    const auto end = meeting_->end;
    lock.unlock();
    std::this_thread::sleep_until(end);
    take_result();
  }

  bool is_done() override {
    if (done_) return true;
    const std::lock_guard lock(world_.mutex);
    return meeting_->complete && Clock::now() >= meeting_->end;
  }

 private:
  std::string late() const {
    std::string text = describe(operation_) + " on " + describe(place_) + ": no answer within " +
                       std::to_string(limit_s_) + " s; missing:";
    for (int r = 0; r < place_.size; ++r) {
      if (meeting_->in[size_t(r)].count < 0) text += " rank " + std::to_string(r);
    }
    return text + ".";
  }

  void take_result() {
    const char* from = meeting_->result.data();
    const bool scatter =
        operation_.kind == Collective::reduce_scatter || operation_.kind == Collective::all_to_all;
    if (world_.options.move_data && out_.bytes() > 0) {
      std::memcpy(out_.data, scatter ? from + place_.rank * out_.bytes() : from,
                  size_t(out_.bytes()));
    }
    const std::lock_guard lock(world_.mutex);
    if (++meeting_->left == place_.size) world_.meetings.erase(operation_.sequence);
  }

  World& world_;
  std::shared_ptr<Meeting> meeting_;
  Place place_;
  Operation operation_;
  Buffer out_;
  double limit_s_;
  bool done_ = false;
};

class SimCommunicator final : public Communicator {
 public:
  SimCommunicator(World& world, int rank)
      : world_(world), place_{rank, world.size, "simulated host"} {}

  int rank() const override { return place_.rank; }
  int size() const override { return place_.size; }
  int local_rank() const override { return place_.rank; }
  int local_size() const override { return place_.size; }
  void set_phase(Phase phase) override { phase_ = phase; }

  Work all_reduce(Buffer buffer, ReduceOp op, std::string_view tag) override {
    return start({Collective::all_reduce, 0, std::string(tag), buffer.type, op, buffer.count},
                 buffer, buffer);
  }
  Work broadcast(Buffer buffer, int root, std::string_view tag) override {
    const Operation operation{Collective::broadcast, 0,   std::string(tag), buffer.type, {},
                              buffer.count,          root};
    check_root(operation, place_);
    return start(operation, buffer, buffer);
  }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op, std::string_view tag) override {
    const Operation operation{
        Collective::reduce_scatter, 0, std::string(tag), in.type, op, in.count};
    check_parts(operation, place_, out, in);
    return start(operation, in, out);
  }
  Work all_gather(Buffer in, Buffer out, std::string_view tag) override {
    const Operation operation{Collective::all_gather, 0, std::string(tag), in.type, {}, in.count};
    check_parts(operation, place_, in, out);
    return start(operation, in, out);
  }
  Work all_to_all(Buffer in, Buffer out, std::string_view tag) override {
    const Operation operation{Collective::all_to_all, 0, std::string(tag), in.type, {}, in.count};
    check_exchange(operation, place_, in, out);
    return start(operation, in, out);
  }
  Work barrier(std::string_view tag) override {
    return start({Collective::barrier, 0, std::string(tag)}, {}, {});
  }
  [[noreturn]] void abort(int exit_code) noexcept override { std::_Exit(exit_code); }

 private:
  void inject(const Operation& operation) const {
    for (const SimFault& fault : world_.options.faults) {
      if (fault.rank != place_.rank || fault.sequence != operation.sequence) continue;
      const std::string where = describe(operation) + " on " + describe(place_);
      if (fault.kind == SimFault::Kind::fail) throw CommError(where + ": injected failure.");
      if (fault.kind == SimFault::Kind::drop)
        throw CommError(where + ": injected loss of the rank.");
      std::this_thread::sleep_for(std::chrono::duration<double>(fault.delay_s));
    }
  }

  Work start(Operation operation, Buffer in, Buffer out) {
    operation.sequence = sequence_++;
    inject(operation);
    const std::lock_guard lock(world_.mutex);
    std::shared_ptr<Meeting>& meeting = world_.meetings[operation.sequence];
    if (!meeting) {
      meeting = std::make_shared<Meeting>();
      meeting->operation = operation;
      meeting->first_rank = place_.rank;
      meeting->in.assign(size_t(place_.size), Buffer{nullptr, -1, operation.type});
    }
    arrive(*meeting, operation, in, out);
    return Work(std::make_unique<SimWork>(world_, meeting, place_, operation, out,
                                          world_.options.limits.of(phase_)));
  }

  void arrive(Meeting& meeting, const Operation& operation, const Buffer& in, const Buffer& out) {
    if (!fits(meeting.operation, operation) && meeting.mismatch.empty()) {
      meeting.mismatch = "mismatched collectives: rank " + std::to_string(meeting.first_rank) +
                         " does " + describe(meeting.operation) + ", rank " +
                         std::to_string(place_.rank) + " does " + describe(operation) + ".";
    }
    meeting.in[size_t(place_.rank)] = in;
    if (++meeting.arrived == place_.size && meeting.mismatch.empty()) {
      if (world_.options.move_data) meeting.result = form_result(meeting);
      const double seconds = sim_seconds(world_.options, operation.kind, place_.size,
                                         std::max(in.bytes(), out.bytes()));
      const auto begin = std::max(Clock::now(), world_.link_free);
      meeting.end = begin + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(seconds));
      world_.link_free = meeting.end;
      meeting.complete = true;
    }
    world_.changed.notify_all();
  }

  World& world_;
  Place place_;
  Phase phase_ = Phase::start;
  int64_t sequence_ = 0;
};

}  // namespace

double sim_seconds(const SimOptions& options, Collective kind, int ranks, int64_t bytes) {
  if (ranks == 1) return 0;
  const double n = ranks;
  const double log2_n = std::bit_width(unsigned(ranks - 1));  // ceil(log2 n)
  const double transfer_s = double(bytes) / options.bandwidth_bytes_per_s;
  if (kind == Collective::barrier) return 2 * log2_n * options.latency_s;
  if (kind == Collective::broadcast) return log2_n * options.latency_s + transfer_s;
  const double half_ring_s = (n - 1) * options.latency_s + (n - 1) / n * transfer_s;
  return kind == Collective::all_reduce ? 2 * half_ring_s : half_ring_s;
}

std::vector<std::string> run_simulated(int ranks, const SimOptions& options,
                                       const std::function<void(Communicator&)>& program) {
  if (ranks < 1) {
    throw CommError("run_simulated: " + std::to_string(ranks) + " ranks; at least 1 is needed.");
  }
  World world(ranks, options);
  std::vector<std::string> errors(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      SimCommunicator communicator(world, r);
      try {
        program(communicator);
      } catch (const std::exception& e) {
        errors[size_t(r)] = e.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

}  // namespace scorenet::comm
