#include "framework/comm/mpi_communicator.hpp"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "framework/comm/host_reduce.hpp"
#include "framework/comm/operation.hpp"
#include "framework/core/error.hpp"

namespace scorenet::comm {
namespace {

std::string error_text(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return {text.data(), size_t(length)};
}

void check(int code, const std::string& what) {
  if (code != MPI_SUCCESS) throw CommError(what + ": " + error_text(code) + ".");
}

void check(int code, const Operation& operation) {
  if (code != MPI_SUCCESS) check(code, describe(operation));
}

// The types MPI cannot add travel as 16-bit words and are reduced by our own operations.
MPI_Datatype mpi_type(DataType type) {
  switch (type) {
    case DataType::uint8:
      return MPI_UINT8_T;
    case DataType::int32:
      return MPI_INT32_T;
    case DataType::int64:
      return MPI_INT64_T;
    case DataType::float16:
    case DataType::bfloat16:
      return MPI_UINT16_T;
    case DataType::float32:
      return MPI_FLOAT;
    case DataType::float64:
      return MPI_DOUBLE;
  }
  throw CommError("MPI: unknown data type " + std::to_string(int(type)) + ".");
}

template <DataType type, ReduceOp op>
void reduce_callback(void* in, void* inout, int* count, MPI_Datatype*) {
  reduce_into(in, inout, *count, type, op);
}

/// Our reductions of 16-bit floats as MPI operations.
class HalfOps {
 public:
  HalfOps() {
    create<DataType::float16>(0);
    create<DataType::bfloat16>(3);
  }
  ~HalfOps() {
    for (MPI_Op& op : ops_) MPI_Op_free(&op);
  }
  HalfOps(const HalfOps&) = delete;
  HalfOps& operator=(const HalfOps&) = delete;

  MPI_Op get(DataType type, ReduceOp op) const {
    return ops_[(type == DataType::bfloat16 ? 3u : 0u) + size_t(op)];
  }

 private:
  template <DataType type>
  void create(size_t first) {
    MPI_Op_create(&reduce_callback<type, ReduceOp::sum>, 1, &ops_[first]);
    MPI_Op_create(&reduce_callback<type, ReduceOp::max>, 1, &ops_[first + 1]);
    MPI_Op_create(&reduce_callback<type, ReduceOp::min>, 1, &ops_[first + 2]);
  }

  std::array<MPI_Op, 6> ops_{};
};

/// What the communicator and its operations share.
struct Shared {
  Place place;
  PhaseLimits limits;
  std::atomic<Phase> phase{Phase::start};
  // After one failure the peers are out of step: nothing more is waited for.
  std::atomic<bool> failed{false};
};

/// Leaves the core to others while nothing arrives: gives way at first, naps once the operation is
/// late (rank zero evaluates), for 1/100 of the time already waited. "Late": later than at 100
/// MB/s.
void idle(double elapsed_s, int64_t bytes) {
  const double late_s = elapsed_s - 0.5 - double(bytes) / 100e6;
  if (late_s <= 0) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::chrono::duration<double>(std::min(0.005, elapsed_s / 100)));
  }
}

class MpiWork final : public Work::State {
 public:
  MpiWork(std::shared_ptr<Shared> shared, Operation operation, std::vector<MPI_Request> requests)
      : shared_(std::move(shared)),
        operation_(std::move(operation)),
        requests_(std::move(requests)),
        start_(Clock::now()) {}

  ~MpiWork() override {
    if (done_ || shared_->failed) return;
    try {
      wait();
    } catch (const CommError& e) {
      std::fprintf(stderr, "%s\n", e.what());
    }
  }

  void wait() override {
    const auto wait_start = Clock::now();
    while (!is_done()) {
      const double elapsed_s = seconds_since(wait_start);
      const double limit_s = shared_->limits.of(shared_->phase);
      if (elapsed_s > limit_s) {
        std::array<char, 160> text{};
        std::snprintf(
            text.data(), text.size(),
            "no answer from the other ranks for %.1f s (limit of phase %s: %g s), %.1f s "
            "after its start. A rank is lost, frozen or does something else; see its log.",
            elapsed_s, name(shared_->phase.load()), limit_s, seconds_since(start_));
        fail(text.data());
      }
      idle(elapsed_s, operation_.bytes());
    }
  }

  bool is_done() override {
    if (done_) return true;
    if (shared_->failed) {
      throw CommError(describe(operation_) + " on " + describe(shared_->place) +
                      ": given up, because an earlier operation failed.");
    }
    int flag = 0;
    const int code =
        MPI_Testall(int(requests_.size()), requests_.data(), &flag, MPI_STATUSES_IGNORE);
    if (code != MPI_SUCCESS) fail(error_text(code));
    done_ = flag != 0;
    return done_;
  }

 private:
  [[noreturn]] void fail(const std::string& reason) {
    shared_->failed = true;
    throw CommError(describe(operation_) + " on " + describe(shared_->place) + ": " + reason);
  }

  std::shared_ptr<Shared> shared_;
  Operation operation_;
  std::vector<MPI_Request> requests_;
  Clock::time_point start_;
  bool done_ = false;
};

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(const MpiOptions& options)
      : shared_(std::make_shared<Shared>()), chunk_(options.chunk_elements) {
    if (chunk_ < 1 || chunk_ > INT32_MAX) {
      throw CommError("MPI: chunk_elements " + std::to_string(chunk_) +
                      " must be between 1 and 2147483647.");
    }
    check(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), "MPI_Comm_dup");
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &shared_->place.rank);
    MPI_Comm_size(comm_, &shared_->place.size);
    shared_->limits = options.limits;
    shared_->place.host = host_name();
    MPI_Comm host = MPI_COMM_NULL;
    check(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank(), MPI_INFO_NULL, &host),
          "MPI_Comm_split_type");
    MPI_Comm_rank(host, &local_rank_);
    MPI_Comm_size(host, &local_size_);
    MPI_Comm_free(&host);
  }

  ~MpiCommunicator() override {
    // Freeing is collective in spirit: pointless once a peer may be gone.
    if (!shared_->failed) MPI_Comm_free(&comm_);
  }

  int rank() const override { return shared_->place.rank; }
  int size() const override { return shared_->place.size; }
  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }
  void set_phase(Phase phase) override { shared_->phase = phase; }

  Work all_reduce(Buffer buffer, ReduceOp op, std::string_view tag) override {
    const Operation operation{"all_reduce", sequence_++, std::string(tag),
                              buffer.type,  op,          buffer.count};
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      for_chunks(buffer, [&](void* data, int count) {
        check(MPI_Iallreduce(MPI_IN_PLACE, data, count, mpi_type(buffer.type),
                             mpi_op(buffer.type, op), comm_, &requests.emplace_back()),
              operation);
      });
    });
  }

  Work broadcast(Buffer buffer, int root, std::string_view tag) override {
    const Operation operation{"broadcast",  sequence_++, std::string(tag), buffer.type, {},
                              buffer.count, root};
    check_root(operation, shared_->place);
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      for_chunks(buffer, [&](void* data, int count) {
        check(MPI_Ibcast(data, count, mpi_type(buffer.type), root, comm_, &requests.emplace_back()),
              operation);
      });
    });
  }

  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op, std::string_view tag) override {
    const Operation operation{"reduce_scatter", sequence_++, std::string(tag),
                              in.type,          op,          in.count};
    check_parts(operation, shared_->place, out, in);
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      if (out.count <= chunk_) {
        check(MPI_Ireduce_scatter_block(in.data, out.data, int(out.count), mpi_type(in.type),
                                        mpi_op(in.type, op), comm_, &requests.emplace_back()),
              operation);
        return;
      }
      // A part of more elements than one call takes: each part is reduced to its owner, chunk by
      // chunk.
      for (int owner = 0; owner < size(); ++owner) {
        int64_t done = 0;
        for_chunks(part(in, owner, out.count), [&](void* data, int count) {
          void* to = owner == rank() ? at(out, done) : nullptr;
          done += count;
          check(MPI_Ireduce(data, to, count, mpi_type(in.type), mpi_op(in.type, op), owner, comm_,
                            &requests.emplace_back()),
                operation);
        });
      }
    });
  }

  Work all_gather(Buffer in, Buffer out, std::string_view tag) override {
    const Operation operation{"all_gather", sequence_++, std::string(tag), in.type, {}, in.count};
    check_parts(operation, shared_->place, in, out);
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      if (in.count <= chunk_) {
        check(MPI_Iallgather(in.data, int(in.count), mpi_type(in.type), out.data, int(in.count),
                             mpi_type(in.type), comm_, &requests.emplace_back()),
              operation);
        return;
      }
      std::copy_n(static_cast<const char*>(in.data), in.bytes(),
                  static_cast<char*>(at(out, rank() * in.count)));
      for (int owner = 0; owner < size(); ++owner) {
        for_chunks(part(out, owner, in.count), [&](void* data, int count) {
          check(MPI_Ibcast(data, count, mpi_type(in.type), owner, comm_, &requests.emplace_back()),
                operation);
        });
      }
    });
  }

  Work barrier(std::string_view tag) override {
    const Operation operation{"barrier", sequence_++, std::string(tag)};
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      check(MPI_Ibarrier(comm_, &requests.emplace_back()), operation);
    });
  }

  [[noreturn]] void abort(int exit_code) noexcept override {
    std::fflush(nullptr);
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 private:
  static std::string host_name() {
    std::array<char, MPI_MAX_PROCESSOR_NAME> text{};
    int length = 0;
    MPI_Get_processor_name(text.data(), &length);
    return {text.data(), size_t(length)};
  }

  static void* at(const Buffer& buffer, int64_t element) {
    return static_cast<char*>(buffer.data) + element * size_in_bytes(buffer.type);
  }

  static Buffer part(const Buffer& whole, int64_t index, int64_t count) {
    return {at(whole, index * count), count, whole.type};
  }

  MPI_Op mpi_op(DataType type, ReduceOp op) const {
    if (type == DataType::float16 || type == DataType::bfloat16) return half_ops_.get(type, op);
    return op == ReduceOp::sum ? MPI_SUM : op == ReduceOp::max ? MPI_MAX : MPI_MIN;
  }

  template <typename Call>
  void for_chunks(const Buffer& buffer, Call call) const {
    for (int64_t first = 0; first < buffer.count; first += chunk_) {
      call(at(buffer, first), int(std::min(chunk_, buffer.count - first)));
    }
  }

  template <typename Launch>
  Work start(const Operation& operation, Launch launch) {
    std::vector<MPI_Request> requests;
    launch(requests);
    return Work(std::make_unique<MpiWork>(shared_, operation, std::move(requests)));
  }

  std::shared_ptr<Shared> shared_;
  HalfOps half_ops_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  int64_t chunk_;
  int64_t sequence_ = 0;
  int local_rank_ = 0;
  int local_size_ = 1;
};

}  // namespace

MpiEnvironment::MpiEnvironment() {
  int running = 0;
  MPI_Initialized(&running);
  int provided = MPI_THREAD_SINGLE;
  if (running != 0) {
    MPI_Query_thread(&provided);
  } else {
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
    owner_ = true;
  }
  thread_multiple_ = provided >= MPI_THREAD_MULTIPLE;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
}

MpiEnvironment::~MpiEnvironment() {
  if (owner_) MPI_Finalize();
}

std::string MpiEnvironment::library() const {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  return {text.data(), size_t(length)};
}

std::unique_ptr<Communicator> make_mpi_communicator(const MpiEnvironment&,
                                                    const MpiOptions& options) {
  return std::make_unique<MpiCommunicator>(options);
}

}  // namespace scorenet::comm
