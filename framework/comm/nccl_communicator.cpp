#include "framework/comm/nccl_communicator.hpp"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "framework/comm/operation.hpp"
#include "framework/core/error.hpp"

namespace scorenet::comm {
namespace {

constexpr double kAbortLimitS = 10;
// NCCL 2.9.6: the first whose operations a CUDA graph may hold beside others outside of it.
constexpr int kFirstRecordable = 20906;

void check(cudaError_t code, const std::string& what) {
  if (code != cudaSuccess) {
    throw CommError(what + ": CUDA says " + cudaGetErrorString(code) + ".");
  }
}

ncclDataType_t nccl_type(DataType type) {
  switch (type) {
    case DataType::uint8:
      return ncclUint8;
    case DataType::int32:
      return ncclInt32;
    case DataType::int64:
      return ncclInt64;
    case DataType::float16:
      return ncclFloat16;
    case DataType::bfloat16:
      return ncclBfloat16;
    case DataType::float32:
      return ncclFloat32;
    case DataType::float64:
      return ncclFloat64;
  }
  throw CommError("NCCL: unknown data type " + std::to_string(int(type)) + ".");
}

ncclRedOp_t nccl_op(ReduceOp op) {
  return op == ReduceOp::sum ? ncclSum : op == ReduceOp::max ? ncclMax : ncclMin;
}

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "NCCL stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "NCCL event"); }
  ~Event() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

/// What the communicator and its operations share.
struct Shared {
  Place place;
  PhaseLimits limits;
  std::atomic<Phase> phase{Phase::start};
  std::atomic<bool> failed{false};
  ncclComm_t comm = nullptr;
  std::shared_ptr<FlightRecorder> recorder;

  [[noreturn]] void fail(const std::string& what, const std::string& reason) {
    failed = true;
    if (recorder) recorder->dump();
    throw CommError(what + " on " + describe(place) + ": " + reason);
  }

  /// A call of a non-blocking communicator may go on in the background: waits until it is through.
  void settle(ncclResult_t code, const std::string& what, double limit_s) {
    const auto start = Clock::now();
    while (code == ncclInProgress) {
      if (seconds_since(start) > limit_s) {
        fail(what, "NCCL made no progress within " + std::to_string(limit_s) +
                       " s. A rank is lost, or the network between the GPUs is not up; run again "
                       "with NCCL_DEBUG=INFO.");
      }
      std::this_thread::yield();
      if (ncclCommGetAsyncError(comm, &code) != ncclSuccess) code = ncclInternalError;
    }
    if (code != ncclSuccess) {
      fail(what, std::string(ncclGetErrorString(code)) + " (" + ncclGetLastError(comm) +
                     "). Run again with NCCL_DEBUG=INFO.");
    }
  }
};

class NcclWork final : public Work::State {
 public:
  NcclWork(std::shared_ptr<Shared> shared, Operation operation, Event end, cudaStream_t compute)
      : shared_(std::move(shared)),
        operation_(std::move(operation)),
        end_(std::move(end)),
        compute_(compute) {
    if (shared_->recorder) record_ = shared_->recorder->start(operation_);
  }

  ~NcclWork() override {
    if (done_ || shared_->failed) return;
    try {
      wait();
    } catch (const CommError& e) {
      std::fprintf(stderr, "%s\n", e.what());
    }
  }

  void wait() override {
    const auto start = Clock::now();
    const double limit_s = shared_->limits.of(shared_->phase);
    while (!is_done()) {
      if (seconds_since(start) > limit_s) {
        shared_->fail(describe(operation_),
                      "not done after " + std::to_string(seconds_since(start)) +
                          " s (limit of phase " + name(shared_->phase.load()) +
                          "). A rank is lost, frozen or does something else; see its log.");
      }
      std::this_thread::yield();
    }
  }

  bool join() override {
    check(cudaStreamWaitEvent(compute_, end_.get(), 0), describe(operation_));
    return true;
  }

  bool is_done() override {
    if (done_) return true;
    if (shared_->failed) {
      throw CommError(describe(operation_) + " on " + describe(shared_->place) +
                      ": given up, because an earlier operation failed.");
    }
    const cudaError_t code = cudaEventQuery(end_.get());
    if (code == cudaSuccess) {
      if (shared_->recorder) shared_->recorder->finish(record_);
      return done_ = true;
    }
    if (code != cudaErrorNotReady) {
      shared_->fail(describe(operation_),
                    std::string("CUDA says ") + cudaGetErrorString(code) + ".");
    }
    ncclResult_t state = ncclSuccess;
    ncclCommGetAsyncError(shared_->comm, &state);
    if (state != ncclSuccess && state != ncclInProgress) {
      shared_->settle(state, describe(operation_), 0);
    }
    return false;
  }

 private:
  std::shared_ptr<Shared> shared_;
  Operation operation_;
  Event end_;
  cudaStream_t compute_;
  int64_t record_ = 0;
  bool done_ = false;
};

/// A part of a recording. The host waits for it with all the rest of a launch: watch().
class RecordedWork final : public Work::State {
 public:
  RecordedWork(std::string what, Event end, cudaStream_t compute)
      : what_(std::move(what)), end_(std::move(end)), compute_(compute) {}

  void wait() override {}
  bool is_done() override { return true; }
  bool join() override {
    check(cudaStreamWaitEvent(compute_, end_.get(), 0), what_);
    return true;
  }

 private:
  std::string what_;
  Event end_;
  cudaStream_t compute_;
};

/// Whether `stream` is being recorded. Throws an Error if something has spoilt the recording: that
/// is no failure of the communicator.
bool is_recorded(cudaStream_t stream, const std::string& what) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream, &status), what);
  if (status == cudaStreamCaptureStatusInvalidated) {
    throw Error(ExitCode::communication,
                what + ": the recording of this stream was spoilt by an earlier call.");
  }
  return status == cudaStreamCaptureStatusActive;
}

/// A fixed-size text that travels as bytes.
using Card = std::array<char, 96>;

/// Throws unless every rank has a device of its own and the same NCCL, named by host and rank.
void check_devices_and_versions(Communicator& bootstrap, int version) {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  Card mine{};
  std::array<char, 32> bus{};
  check(cudaDeviceGetPCIBusId(bus.data(), int(bus.size()), device), "cudaDeviceGetPCIBusId");
  // Ranks of one host share their "rank 0 of the host" and so are told apart from equal
  // bus ids elsewhere.
  std::snprintf(mine.data(), mine.size(), "%d %d %s", version,
                bootstrap.rank() - bootstrap.local_rank(), bus.data());
  std::vector<Card> all(size_t(bootstrap.size()));
  bootstrap
      .all_gather({mine.data(), int64_t(mine.size()), DataType::uint8},
                  {all.data(), int64_t(all.size() * mine.size()), DataType::uint8}, "devices")
      .wait();
  for (size_t a = 0; a < all.size(); ++a) {
    const int other = std::atoi(all[a].data());
    if (other != std::atoi(all[0].data())) {
      throw ConfigError("NCCL version " + std::to_string(std::atoi(all[0].data())) +
                        " on rank 0 and " + std::to_string(other) + " on rank " +
                        std::to_string(a) + ": all ranks must load the same library.");
    }
    for (size_t b = 0; b < a; ++b) {
      if (all[a] == all[b]) {
        throw ConfigError(
            "ranks " + std::to_string(b) + " and " + std::to_string(a) +
            " use the same CUDA device (" + all[a].data() +
            "); NCCL needs one rank per device. Start fewer ranks on that host, or let the "
            "launcher give each rank its own device (srun --gpus-per-task=1).");
      }
    }
  }
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Communicator& bootstrap, const NcclOptions& options)
      : bootstrap_(bootstrap),
        options_(options),
        shared_(std::make_shared<Shared>()),
        exceptions_at_start_(std::uncaught_exceptions()) {
    shared_->place = {bootstrap.rank(), bootstrap.size(), "device"};
    shared_->limits = options.limits;
    shared_->recorder = options.recorder;
    version_ = checked_version();
    check_devices_and_versions(bootstrap, version_);
    create();
  }

  ~NcclCommunicator() override {
    const bool unwinding = std::uncaught_exceptions() > exceptions_at_start_;
    if (shared_->failed || unwinding) {
      abort_with_limit();
    } else {
      try {
        shared_->settle(ncclCommFinalize(shared_->comm), "ncclCommFinalize",
                        shared_->limits.of(shared_->phase));
        ncclCommDestroy(shared_->comm);
        shared_->comm = nullptr;
      } catch (const CommError& e) {
        std::fprintf(stderr, "%s\n", e.what());
        abort_with_limit();
      }
    }
    cudaFree(scratch_);
  }

  int rank() const override { return bootstrap_.rank(); }
  int size() const override { return bootstrap_.size(); }
  int local_rank() const override { return bootstrap_.local_rank(); }
  int local_size() const override { return bootstrap_.local_size(); }
  void set_phase(Phase phase) override { shared_->phase = phase; }

  Work all_reduce(Buffer b, ReduceOp op, std::string_view tag) override {
    return start({Collective::all_reduce, 0, std::string(tag), b.type, op, b.count}, [&] {
      return ncclAllReduce(b.data, b.data, size_t(b.count), nccl_type(b.type), nccl_op(op),
                           shared_->comm, stream_.get());
    });
  }

  Work broadcast(Buffer b, int root, std::string_view tag) override {
    const Operation operation{
        Collective::broadcast, 0, std::string(tag), b.type, {}, b.count, root};
    check_root(operation, shared_->place);
    return start(operation, [&] {
      return ncclBroadcast(b.data, b.data, size_t(b.count), nccl_type(b.type), root, shared_->comm,
                           stream_.get());
    });
  }

  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op, std::string_view tag) override {
    const Operation operation{
        Collective::reduce_scatter, 0, std::string(tag), in.type, op, in.count};
    check_parts(operation, shared_->place, out, in);
    return start(operation, [&] {
      return ncclReduceScatter(in.data, out.data, size_t(out.count), nccl_type(in.type),
                               nccl_op(op), shared_->comm, stream_.get());
    });
  }

  Work all_gather(Buffer in, Buffer out, std::string_view tag) override {
    const Operation operation{Collective::all_gather, 0, std::string(tag), in.type, {}, in.count};
    check_parts(operation, shared_->place, in, out);
    return start(operation, [&] {
      return ncclAllGather(in.data, out.data, size_t(in.count), nccl_type(in.type), shared_->comm,
                           stream_.get());
    });
  }

  /// NCCL has no all-to-all of its own: sends and receives in one group, which start together or
  /// would wait for one another.
  Work all_to_all(Buffer in, Buffer out, std::string_view tag) override {
    const Operation operation{Collective::all_to_all, 0, std::string(tag), in.type, {}, in.count};
    check_exchange(operation, shared_->place, in, out);
    return start(operation, [&] { return exchange(in, out); });
  }

  Work barrier(std::string_view tag) override {
    return start({Collective::barrier, 0, std::string(tag)}, [&] {
      return ncclAllReduce(scratch_, scratch_, 1, ncclFloat32, ncclSum, shared_->comm,
                           stream_.get());
    });
  }

  bool can_be_recorded() const override { return version_ >= kFirstRecordable; }

  Work watch(std::string_view tag) override {
    const Operation operation{Collective::replay, sequence_++, std::string(tag)};
    const cudaStream_t compute = compute_stream();
    Event end;
    check(cudaEventRecord(end.get(), compute), describe(operation));
    return Work(std::make_unique<NcclWork>(shared_, operation, std::move(end), compute));
  }

  /// Registered, so that the links and switches may reach it without NCCL's own buffers in between.
  std::shared_ptr<void> allocate(int64_t bytes) override {
    void* data = nullptr;
    if (bytes == 0 || ncclMemAlloc(&data, size_t(bytes)) != ncclSuccess) return nullptr;
    void* handle = nullptr;
    if (ncclCommRegister(shared_->comm, data, size_t(bytes), &handle) != ncclSuccess)
      handle = nullptr;  // it travels all the same
    return {data, [shared = shared_, handle](void* memory) {
              // What hangs may still use it: freeing would wait for that, before the communicator
              // is aborted. The process is at its end.
              if (shared->failed) return;
              if (handle != nullptr && shared->comm != nullptr)
                ncclCommDeregister(shared->comm, handle);
              ncclMemFree(memory);
            }};
  }

  [[noreturn]] void abort(int exit_code) noexcept override {
    bootstrap_.abort(exit_code);
    std::_Exit(
        // the interface's abort is noreturn, which the compiler forgets for virtual calls
        exit_code);
  }

 private:
  /// A header newer than the library calls functions that it lacks or reads differently.
  static int checked_version() {
    int version = 0;
    if (ncclGetVersion(&version) != ncclSuccess || version < NCCL_VERSION_CODE) {
      throw ConfigError("NCCL library " + std::to_string(version) + " is older than the header " +
                        std::to_string(NCCL_VERSION_CODE) +
                        " that this program was built with. Load a newer library or build again.");
    }
    return version;
  }

  void create() {
    ncclUniqueId id{};
    if (rank() == 0) {
      shared_->settle(ncclGetUniqueId(&id), "ncclGetUniqueId", shared_->limits.start);
    }
    bootstrap_.broadcast({&id, int64_t(sizeof id), DataType::uint8}, 0, "NCCL unique id").wait();
    check(cudaMalloc(&scratch_, sizeof(float)), "NCCL scratch");
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    try {
      shared_->settle(ncclCommInitRankConfig(&shared_->comm, size(), id, rank(), &config),
                      "ncclCommInitRankConfig", shared_->limits.start);
    } catch (const CommError&) {
      if (shared_->comm != nullptr) abort_with_limit();
      cudaFree(scratch_);
      throw;
    }
  }

  ncclResult_t exchange(const Buffer& in, const Buffer& out) {
    const int64_t part = in.count / size();
    const auto at = [part](const Buffer& buffer, int peer) {
      return static_cast<char*>(buffer.data) + peer * part * size_in_bytes(buffer.type);
    };
    ncclResult_t first_error = ncclGroupStart();
    const auto note = [&](ncclResult_t code) {
      const bool good = code == ncclSuccess || code == ncclInProgress;
      if (!good && first_error == ncclSuccess) first_error = code;
    };
    for (int peer = 0; peer < size(); ++peer) {
      note(ncclSend(at(in, peer), size_t(part), nccl_type(in.type), peer, shared_->comm,
                    stream_.get()));
      note(ncclRecv(at(out, peer), size_t(part), nccl_type(in.type), peer, shared_->comm,
                    stream_.get()));
    }
    const ncclResult_t end =
        ncclGroupEnd();  // also after an error: a group left open takes in all that follows
    return first_error == ncclSuccess ? end : first_error;
  }

  cudaStream_t compute_stream() const {
    return static_cast<cudaStream_t>(options_.compute_stream ? options_.compute_stream() : nullptr);
  }

  template <typename Launch>
  Work start(Operation operation, Launch launch) {
    operation.sequence = sequence_++;
    if (shared_->failed) {
      throw CommError(describe(operation) + " on " + describe(shared_->place) +
                      ": given up, because an earlier operation failed.");
    }
    // The buffers are what the compute stream has produced when it gets here. If that stream is
    // being recorded, waiting for its event takes NCCL's stream into the recording.
    const Event begin;
    const cudaStream_t compute = compute_stream();
    const std::string what =
        std::string(name(operation.kind)) + " " + std::to_string(operation.sequence);
    const bool recorded = is_recorded(compute, what);
    check(cudaEventRecord(begin.get(), compute), what);
    check(cudaStreamWaitEvent(stream_.get(), begin.get(), 0), what);
    shared_->settle(launch(), what + " (" + operation.tag + ")",
                    shared_->limits.of(shared_->phase));
    Event end;
    check(cudaEventRecord(end.get(), stream_.get()), what);
    if (recorded) return Work(std::make_unique<RecordedWork>(what, std::move(end), compute));
    return Work(std::make_unique<NcclWork>(shared_, std::move(operation), std::move(end), compute));
  }

  /// ncclCommAbort may itself block for ever when peers are gone: it gets its own thread and a
  /// limit, then the process ends hard.
  void abort_with_limit() noexcept {
    auto done = std::make_shared<std::atomic<bool>>(false);
    std::thread([done, comm = shared_->comm] {
      ncclCommAbort(comm);
      *done = true;
    }).detach();
    const auto start = Clock::now();
    while (!*done) {
      if (seconds_since(start) > kAbortLimitS) {
        std::fprintf(
            stderr,
            "%s: ncclCommAbort did not return within %g s; the process ends without clean-up.\n",
            describe(shared_->place).c_str(), kAbortLimitS);
        std::_Exit(int(ExitCode::communication));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  Communicator& bootstrap_;
  NcclOptions options_;
  std::shared_ptr<Shared> shared_;
  int exceptions_at_start_;
  Stream stream_;
  void* scratch_ = nullptr;
  int version_ = 0;
  int64_t sequence_ = 0;
};

}  // namespace

bool nccl_is_built_in() { return true; }

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap,
                                                     const NcclOptions& options) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess) devices = 0;
  const int device = select_nccl_device(bootstrap.local_rank(), bootstrap.local_size(), devices);
  check(cudaSetDevice(device), "cudaSetDevice(" + std::to_string(device) + ")");
  return std::make_unique<NcclCommunicator>(bootstrap, options);
}

}  // namespace scorenet::comm
