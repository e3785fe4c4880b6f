#include "framework/comm/mpi_communicator.hpp"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "framework/comm/end_of_mpi.hpp"
#include "framework/comm/host_reduce.hpp"
#include "framework/comm/mpi_detail.hpp"
#include "framework/comm/mpi_work.hpp"
#include "framework/core/host_name.hpp"

namespace scorenet::comm {
namespace {

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

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(const MpiOptions& options, bool thread_multiple)
      : options_(options), shared_(std::make_shared<MpiShared>()) {
    if (chunk() < 1 || chunk() > INT32_MAX) {
      throw CommError("MPI: chunk_elements " + std::to_string(chunk()) +
                      " must be between 1 and 2147483647.");
    }
    // The thread's collectives run beside the others, so they need a communicator of their own.
    comm_ = duplicate();
    thread_comm_ = duplicate();
    MPI_Comm_rank(comm_, &shared_->place.rank);
    MPI_Comm_size(comm_, &shared_->place.size);
    shared_->limits = options.limits;
    shared_->place.host = host_name();
    shared_->vitals = options.vitals ? options.vitals : std::make_shared<Vitals>();
    shared_->recorder = options.recorder;
    if (thread_multiple && size() > 1) {
      shared_->thread = std::make_unique<AllReduceThread>(thread_comm_);
    }
    // The ranks that share memory with this one are those of its machine.
    MPI_Comm machine = MPI_COMM_NULL;
    check(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank(), MPI_INFO_NULL, &machine),
          "MPI_Comm_split_type");
    MPI_Comm_rank(machine, &local_rank_);
    MPI_Comm_size(machine, &local_size_);
    MPI_Comm_free(&machine);
  }

  ~MpiCommunicator() override {
    // Freeing may wait for the other ranks, and after a failure one of them may be gone.
    if (shared_->failed) return;
    shared_->thread.reset();
    MPI_Comm_free(&comm_);
    MPI_Comm_free(&thread_comm_);
  }

  int rank() const override { return shared_->place.rank; }
  int size() const override { return shared_->place.size; }
  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }
  void set_phase(Phase phase) override { shared_->vitals->phase = phase; }

  Work all_reduce(Buffer buffer, ReduceOp op, std::string_view tag) override {
    const Operation operation{
        Collective::all_reduce, sequence_++, std::string(tag), buffer.type, op, buffer.count};
    if (shared_->thread && buffer.bytes() >= options_.threaded_bytes) {
      announce(operation);
      return Work(std::make_unique<ThreadedWork>(
          shared_, operation, [this, buffer, op] { blocking_all_reduce(buffer, op); }));
    }
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      for_chunks(buffer, [&](void* data, int count) {
        check(MPI_Iallreduce(MPI_IN_PLACE, data, count, mpi_type(buffer.type),
                             mpi_op(buffer.type, op), comm_, &requests.emplace_back()),
              operation);
      });
    });
  }

  void all_reduce_now(Buffer buffer, ReduceOp op, std::string_view tag) override {
    if (buffer.bytes() < options_.threaded_bytes) return all_reduce(buffer, op, tag).wait();
    const Operation operation{
        Collective::all_reduce, sequence_++, std::string(tag), buffer.type, op, buffer.count};
    announce(operation);
    BlockingWork(shared_, operation, thread_comm_, [this, buffer, op] {
      blocking_all_reduce(buffer, op);
    }).wait();
  }

  Work broadcast(Buffer buffer, int root, std::string_view tag) override {
    const Operation operation{Collective::broadcast, sequence_++, std::string(tag), buffer.type, {},
                              buffer.count,          root};
    check_root(operation, shared_->place);
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      for_chunks(buffer, [&](void* data, int count) {
        check(MPI_Ibcast(data, count, mpi_type(buffer.type), root, comm_, &requests.emplace_back()),
              operation);
      });
    });
  }

  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op, std::string_view tag) override {
    const Operation operation{
        Collective::reduce_scatter, sequence_++, std::string(tag), in.type, op, in.count};
    check_parts(operation, shared_->place, out, in);
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      if (out.count <= chunk()) {
        check(MPI_Ireduce_scatter_block(in.data, out.data, int(out.count), mpi_type(in.type),
                                        mpi_op(in.type, op), comm_, &requests.emplace_back()),
              operation);
        return;
      }
      // A part of more elements than one call takes: each part is reduced to its owner,
      // chunk by chunk.
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
    const Operation operation{
        Collective::all_gather, sequence_++, std::string(tag), in.type, {}, in.count};
    check_parts(operation, shared_->place, in, out);
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      if (in.count <= chunk()) {
        check(MPI_Iallgather(in.data, int(in.count), mpi_type(in.type), out.data, int(in.count),
                             mpi_type(in.type), comm_, &requests.emplace_back()),
              operation);
        return;
      }
      // Parts of more elements than one call takes: each owner broadcasts its own, chunk by chunk.
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

  Work all_to_all(Buffer in, Buffer out, std::string_view tag) override {
    const Operation operation{
        Collective::all_to_all, sequence_++, std::string(tag), in.type, {}, in.count};
    check_exchange(operation, shared_->place, in, out);
    const int64_t share = in.count / size();
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      if (share <= chunk()) {
        check(MPI_Ialltoall(in.data, int(share), mpi_type(in.type), out.data, int(share),
                            mpi_type(in.type), comm_, &requests.emplace_back()),
              operation);
        return;
      }
      // Messages between two ranks arrive in the order they were sent, so the chunks
      // need no numbers.
      for (int peer = 0; peer < size(); ++peer) {
        for_chunks(part(out, peer, share), [&](void* data, int count) {
          check(MPI_Irecv(data, count, mpi_type(in.type), peer, 0, comm_, &requests.emplace_back()),
                operation);
        });
      }
      for (int peer = 0; peer < size(); ++peer) {
        for_chunks(part(in, peer, share), [&](void* data, int count) {
          check(MPI_Isend(data, count, mpi_type(in.type), peer, 0, comm_, &requests.emplace_back()),
                operation);
        });
      }
    });
  }

  Work barrier(std::string_view tag) override {
    const Operation operation{Collective::barrier, sequence_++, std::string(tag)};
    return start(operation, [&](std::vector<MPI_Request>& requests) {
      check(MPI_Ibarrier(comm_, &requests.emplace_back()), operation);
    });
  }

  [[noreturn]] void abort(int exit_code) noexcept override {
    std::fflush(nullptr);
    abort_mpi(exit_code);
  }

 private:
  static MPI_Comm duplicate() {
    MPI_Comm comm = MPI_COMM_NULL;
    check(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    return comm;
  }

  int64_t chunk() const { return options_.chunk_elements; }

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
    for_chunks(buffer, chunk(), call);
  }

  template <typename Call>
  static void for_chunks(const Buffer& buffer, int64_t chunk, Call call) {
    for (int64_t first = 0; first < buffer.count; first += chunk) {
      call(at(buffer, first), int(std::min(chunk, buffer.count - first)));
    }
  }

  /// In pieces of 8 MiB a rank. Open MPI's scratch of larger ones is fresh pages from the kernel at
  /// every call (twice the time from 32 MiB on, two ranks). Smaller ones stay in a cache that two
  /// cores share, but cost a half more where they share none.
  void blocking_all_reduce(const Buffer& buffer, ReduceOp op) const {
    const int64_t piece = size() * (int64_t{8} << 20) / size_in_bytes(buffer.type);
    for_chunks(buffer, std::min(chunk(), piece), [&](void* data, int count) {
      check(MPI_Allreduce(MPI_IN_PLACE, data, count, mpi_type(buffer.type), mpi_op(buffer.type, op),
                          thread_comm_),
            "MPI_Allreduce");
    });
  }

  template <typename Launch>
  Work start(const Operation& operation, Launch launch) {
    announce(operation);
    std::vector<MPI_Request> requests;
    launch(requests);
    return Work(std::make_unique<RequestWork>(shared_, operation, std::move(requests)));
  }

  /// Before every operation: counts it for the heartbeat, and in debug mode compares it over the
  /// ranks.
  void announce(const Operation& operation) {
    if (shared_->failed) {
      throw CommError(describe(operation) + " on " + describe(shared_->place) +
                      ": not started, because an earlier operation failed.");
    }
    ++shared_->vitals->operations;
    if (options_.check_collectives) compare(operation);
  }

  /// What all ranks must share about an operation, and the tag for people.
  struct Card {
    int64_t sequence = 0;
    int64_t count = 0;
    int32_t type = 0;
    int32_t op = 0;
    int32_t root = 0;
    int32_t kind = 0;
    std::array<char, 80> tag{};
  };

  void compare(const Operation& operation) {
    Card mine{operation.sequence,
              operation.count,
              int32_t(operation.type),
              int32_t(operation.op),
              operation.root,
              int32_t(operation.kind),
              {}};
    std::snprintf(mine.tag.data(), mine.tag.size(), "%s", operation.tag.c_str());
    std::vector<Card> all(static_cast<size_t>(size()));
    std::vector<MPI_Request> requests(1);
    check(MPI_Iallgather(&mine, int(sizeof mine), MPI_BYTE, all.data(), int(sizeof mine), MPI_BYTE,
                         comm_, requests.data()),
          operation);
    RequestWork(shared_, operation, std::move(requests)).wait();
    // Every rank has all cards and finds the same first mismatch, so all fail with one sentence.
    const auto from = [](const Card& card) {
      return Operation{Collective(card.kind), card.sequence, card.tag.data(), DataType(card.type),
                       ReduceOp(card.op),     card.count,    card.root};
    };
    for (size_t r = 1; r < all.size(); ++r) {
      if (fits(from(all[0]), from(all[r]))) continue;
      shared_->fail(operation, "mismatched collectives: rank 0 does " + describe(from(all[0])) +
                                   ", rank " + std::to_string(r) + " does " +
                                   describe(from(all[r])) + ".");
    }
  }

  MpiOptions options_;
  std::shared_ptr<MpiShared> shared_;
  HalfOps half_ops_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  MPI_Comm thread_comm_ = MPI_COMM_NULL;
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
  if (owner_) finalize_mpi(rank_, end_limit_s_);
}

std::string MpiEnvironment::library() const {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  return {text.data(), size_t(length)};
}

std::unique_ptr<Communicator> make_mpi_communicator(const MpiEnvironment& environment,
                                                    const MpiOptions& options) {
  return std::make_unique<MpiCommunicator>(options, environment.thread_multiple());
}

}  // namespace scorenet::comm
