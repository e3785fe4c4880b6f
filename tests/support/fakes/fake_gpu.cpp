#include "tests/support/fakes/fake_gpu.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "framework/comm/host_reduce.hpp"

using scorenet::comm::DataType;
using scorenet::comm::ReduceOp;

/// A point in a stream. `recorded` counts cudaEventRecord calls, `reached` those that the stream
/// has come to.
struct FakeEvent {
  std::mutex mutex;
  std::condition_variable changed;
  int recorded = 0;
  int reached = 0;
  // Of a recorded stream: its nodes that come before.
  std::shared_ptr<fake_gpu::Graph::Recording> recording;
  std::set<size_t> nodes;
};

struct FakeStream {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> tasks;
  bool busy = false;
  bool stop = false;
  std::thread worker;
  std::shared_ptr<fake_gpu::Graph::Recording> recording;  // null: it does what it is given
};

/// What has been recorded: pieces of work, and which others each comes after.
struct fake_gpu::Graph::Recording {
  struct Node {
    std::function<std::function<void()>()> at_launch;  // on the host; gives the work
    std::set<size_t> after;
  };
  std::mutex mutex;
  std::vector<Node> nodes;
  std::map<FakeStream*, std::set<size_t>> last;  // of each stream
  std::set<FakeNcclComm*> comms;
  bool spoilt = false;

  /// The stream's next node.
  void add(FakeStream* stream, std::function<std::function<void()>()> at_launch) {
    const std::lock_guard lock(mutex);
    nodes.push_back({std::move(at_launch), last[stream]});
    last[stream] = {nodes.size() - 1};
  }
  bool all_joined(FakeStream* origin) const {
    std::set<size_t> seen;
    std::vector<size_t> next(last.at(origin).begin(), last.at(origin).end());
    while (!next.empty()) {
      const size_t node = next.back();
      next.pop_back();
      if (seen.insert(node).second)
        next.insert(next.end(), nodes[node].after.begin(), nodes[node].after.end());
    }
    return seen.size() == nodes.size();
  }
  void run(const std::vector<std::function<void()>>& work);
};

namespace {

/// One collective of all ranks.
struct Meeting {
  std::string what;  // kind, count, type, operation, root
  std::vector<const void*> in;
  std::vector<std::vector<char>> seen;  // each input when its stream came here
  int arrived = 0;
  bool complete = false;
  std::vector<char> result;
};

/// What one rank has sent another and the other has not yet taken.
struct Letter {
  std::string what;  // count and type
  std::vector<char> content;
};

struct NcclWorld {
  std::map<std::pair<int, int>, std::deque<Letter>> letters;  // by sender and receiver
  std::mutex mutex;
  std::condition_variable changed;
  int size = 0;
  int joined = 0;
  std::map<int, int> device_of;  // by rank
  std::map<int64_t, std::shared_ptr<Meeting>> meetings;
};

struct Fake {
  std::mutex mutex;
  fake_gpu::Behaviour behaviour;
  std::vector<std::string> violations;
  std::map<std::string, std::shared_ptr<NcclWorld>> worlds;  // by unique id
  int next_id = 0;
  std::vector<std::shared_ptr<void>> kept;  // events and communicators: streams may still use them
  std::atomic<int> destroyed{0};
  std::atomic<int> aborted{0};
  std::set<void*> pieces;  // from ncclMemAlloc
  std::atomic<int> registered{0};
};

Fake& fake() {
  static Fake instance;
  return instance;
}

template <typename T>
T* kept(T* made) {
  const std::lock_guard lock(fake().mutex);
  fake().kept.push_back(std::shared_ptr<T>(made));
  return made;
}

void violation(const std::string& what) {
  const std::lock_guard lock(fake().mutex);
  fake().violations.push_back(what);
}

thread_local int current_device = 0;
// What this thread records: its own calls must not ask for anything under way meanwhile.
thread_local fake_gpu::Graph::Recording* recorded_here = nullptr;

cudaError_t refuse_while_recording(const char* what) {
  if (recorded_here == nullptr) return cudaSuccess;
  violation(std::string(what) + " while recording");
  recorded_here->spoilt = true;
  return cudaErrorStreamCaptureUnsupported;
}

void dawdle() {
  thread_local std::minstd_rand random(std::random_device{}());
  const double seconds = fake().behaviour.delay_s * 2 * double(random() % 1000) / 1000;
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

void work_off(FakeStream* stream) {
  std::unique_lock lock(stream->mutex);
  while (true) {
    stream->changed.wait(lock, [&] { return stream->stop || !stream->tasks.empty(); });
    if (stream->tasks.empty()) return;
    auto task = std::move(stream->tasks.front());
    stream->tasks.pop_front();
    stream->busy = true;
    lock.unlock();
    dawdle();
    task();
    lock.lock();
    stream->busy = false;
    stream->changed.notify_all();
  }
}

void enqueue(FakeStream* stream, std::function<void()> task) {
  if (stream == nullptr) {  // the default stream: at once
    task();
    return;
  }
  if (stream->recording) {
    stream->recording->add(stream, [task = std::move(task)] { return task; });
    return;
  }
  const std::lock_guard lock(stream->mutex);
  stream->tasks.push_back(std::move(task));
  stream->changed.notify_all();
}

}  // namespace

struct FakeNcclComm {
  std::shared_ptr<NcclWorld> world;
  int rank = 0;
  int64_t sequence = 0;
  std::atomic<ncclResult_t> state{ncclSuccess};
  std::atomic<bool> aborted{false};
  std::atomic<bool> gone{false};
  std::atomic<int> polls{0};   // since the last call: it stays in progress for some
  std::atomic<int> graphs{0};  // that hold its operations
  std::set<std::string> run;   // operations that have run, and so have their connections
};

namespace {

DataType type_of(ncclDataType_t type) {
  switch (type) {
    case ncclUint8:
      return DataType::uint8;
    case ncclInt32:
      return DataType::int32;
    case ncclInt64:
      return DataType::int64;
    case ncclFloat16:
      return DataType::float16;
    case ncclBfloat16:
      return DataType::bfloat16;
    case ncclFloat32:
      return DataType::float32;
    case ncclFloat64:
      return DataType::float64;
  }
  std::abort();
}

struct Call {
  std::string kind;
  const void* in;
  void* out;
  int64_t count;  // of the input
  DataType type;
  ReduceOp op = ReduceOp::sum;
  int root = 0;

  int64_t bytes() const { return count * scorenet::comm::size_in_bytes(type); }
  std::string what() const {
    return kind + " " + std::to_string(count) + " " + name(type) + " " + name(op) + " " +
           std::to_string(root);
  }
};

std::vector<char> result_of(const Meeting& meeting, const Call& call) {
  std::vector<char> result(meeting.seen[0]);
  if (call.kind == "broadcast") return meeting.seen[size_t(call.root)];
  for (size_t r = 1; r < meeting.seen.size(); ++r) {
    if (call.kind == "all_gather") {
      result.insert(result.end(), meeting.seen[r].begin(), meeting.seen[r].end());
    } else {
      scorenet::comm::reduce_into(meeting.seen[r].data(), result.data(), call.count, call.type,
                                  call.op);
    }
  }
  return result;
}

/// What a rank's stream does when it comes to the operation.
void meet(FakeNcclComm* comm, int64_t sequence, const Call& call) {
  if (fake().behaviour.silent_rank == comm->rank) {
    while (!comm->aborted) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return;
  }
  NcclWorld& world = *comm->world;
  std::unique_lock lock(world.mutex);
  auto& slot = world.meetings[sequence];
  if (!slot) {
    slot = std::make_shared<Meeting>();
    slot->what = call.what();
    slot->in.resize(size_t(world.size));
    slot->seen.resize(size_t(world.size));
  }
  const std::shared_ptr<Meeting> meeting = slot;
  if (meeting->what != call.what()) {
    violation("operation " + std::to_string(sequence) + ": " + meeting->what + " against " +
              call.what());
  }
  const char* in = static_cast<const char*>(call.in);
  meeting->in[size_t(comm->rank)] = in;
  meeting->seen[size_t(comm->rank)].assign(in, in + call.bytes());
  if (++meeting->arrived == world.size && meeting->what == call.what()) {
    meeting->result = result_of(*meeting, call);
    meeting->complete = true;
    world.changed.notify_all();
  }
  while (!meeting->complete && !comm->aborted) {
    world.changed.wait_for(lock, std::chrono::milliseconds(1));
  }
  lock.unlock();
  if (!meeting->complete) return;
  dawdle();
  const std::vector<char>& seen = meeting->seen[size_t(comm->rank)];
  if (!seen.empty() && std::memcmp(seen.data(), in, seen.size()) != 0) {
    violation("operation " + std::to_string(sequence) + ": the buffer of rank " +
              std::to_string(comm->rank) + " was touched before completion");
  }
  const bool scatter = call.kind == "reduce_scatter";
  const size_t bytes = meeting->result.size() / (scatter ? size_t(world.size) : 1);
  const char* mine = meeting->result.data() + (scatter ? bytes * size_t(comm->rank) : 0);
  if (bytes > 0) std::memcpy(call.out, mine, bytes);
}

/// A send or a receive, put off until its group is closed.
struct Transfer {
  FakeNcclComm* comm;
  cudaStream_t stream;
  bool sends;
  char* data;
  int64_t bytes;
  std::string what;
  int peer;
};

/// Of this thread, which is a rank.
struct Group {
  int depth = 0;
  std::vector<Transfer> transfers;
  std::vector<std::function<void()>> collectives;
};
thread_local Group group;

/// What a rank's stream does when it comes to a group: all sends leave before the
/// first receive waits.
void transfer(FakeNcclComm* comm, const std::vector<Transfer>& transfers) {
  NcclWorld& world = *comm->world;
  std::unique_lock lock(world.mutex);
  std::vector<std::vector<char>> sent;
  for (const Transfer& t : transfers) {
    if (!t.sends) continue;
    sent.emplace_back(t.data, t.data + t.bytes);
    world.letters[{comm->rank, t.peer}].push_back({t.what, sent.back()});
  }
  world.changed.notify_all();
  for (const Transfer& t : transfers) {
    if (t.sends) continue;
    auto& box = world.letters[{t.peer, comm->rank}];
    while (box.empty() && !comm->aborted)
      world.changed.wait_for(lock, std::chrono::milliseconds(1));
    if (box.empty()) return;
    const Letter letter = std::move(box.front());
    box.pop_front();
    if (letter.what != t.what) {
      violation("rank " + std::to_string(t.peer) + " sends " + letter.what + ", rank " +
                std::to_string(comm->rank) + " receives " + t.what);
      continue;
    }
    lock.unlock();
    dawdle();
    lock.lock();
    std::memcpy(t.data, letter.content.data(), letter.content.size());
  }
  size_t k = 0;
  for (const Transfer& t : transfers) {
    if (t.sends && std::memcmp(sent[k++].data(), t.data, size_t(t.bytes)) != 0) {
      violation("what rank " + std::to_string(comm->rank) + " sends was touched before completion");
    }
  }
}

ncclResult_t put_off(FakeNcclComm* comm, cudaStream_t stream, bool sends, void* data, size_t count,
                     ncclDataType_t type, int peer) {
  if (comm->gone || comm->aborted) {
    violation("a transfer on a communicator that is gone");
    return ncclInvalidUsage;
  }
  if (group.depth == 0) {
    violation("a send or receive outside a group");
    return ncclInvalidUsage;
  }
  const DataType of = type_of(type);
  const int64_t bytes = int64_t(count) * scorenet::comm::size_in_bytes(of);
  group.transfers.push_back({comm, stream, sends, static_cast<char*>(data), bytes,
                             std::to_string(count) + " " + name(of), peer});
  return ncclSuccess;
}

/// Whether this operation is the one that fails.
bool fails(FakeNcclComm* comm, int64_t sequence) {
  const auto& behaviour = fake().behaviour;
  if (behaviour.failing_rank != comm->rank || behaviour.failing_call != sequence) return false;
  comm->state = ncclSystemError;
  return true;
}

ncclResult_t start(FakeNcclComm* comm, cudaStream_t stream, const Call& call) {
  if (comm->gone || comm->aborted) {
    violation(call.kind + " on a communicator that is gone");
    return ncclInvalidUsage;
  }
  if (stream != nullptr && stream->recording) {
    if (!comm->run.contains(call.what()))
      violation(call.what() + " is recorded before it has run once");
    if (stream->recording->comms.insert(comm).second) ++comm->graphs;
    stream->recording->add(stream, [=]() -> std::function<void()> {
      const int64_t sequence = comm->sequence++;
      if (fails(comm, sequence)) return [] {};
      return [=] { meet(comm, sequence, call); };
    });
    comm->polls = 2;
    return ncclInProgress;
  }
  comm->run.insert(call.what());
  const int64_t sequence = comm->sequence++;
  if (fails(comm, sequence)) return ncclInProgress;  // the error shows when polled
  const auto launch = [=] { enqueue(stream, [=] { meet(comm, sequence, call); }); };
  if (group.depth > 0) {
    group.collectives.push_back(launch);
    return ncclSuccess;
  }
  launch();
  comm->polls = 2;
  return ncclInProgress;
}

}  // namespace

ncclResult_t ncclSend(const void* in, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return put_off(comm, stream, true, const_cast<void*>(in), count, type, peer);
}
ncclResult_t ncclRecv(void* out, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return put_off(comm, stream, false, out, count, type, peer);
}
ncclResult_t ncclGroupStart() {
  ++group.depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (group.depth == 0) {
    violation("a group is closed that was not opened");
    return ncclInvalidUsage;
  }
  if (--group.depth > 0) return ncclSuccess;  // the outermost counts
  for (const auto& launch : std::exchange(group.collectives, {})) launch();
  const std::vector<Transfer> transfers = std::exchange(group.transfers, {});
  if (transfers.empty()) return ncclSuccess;
  FakeNcclComm* comm = transfers[0].comm;
  if (fails(comm, comm->sequence++)) return ncclInProgress;
  enqueue(transfers[0].stream, [=] { transfer(comm, transfers); });
  comm->polls = 2;
  return ncclInProgress;
}

namespace fake_gpu {

void reset(const Behaviour& behaviour) {
  const std::lock_guard lock(fake().mutex);
  fake().behaviour = behaviour;
  fake().violations.clear();
  fake().worlds.clear();
  fake().destroyed = 0;
  fake().aborted = 0;
  for (void* const piece : fake().pieces) std::free(piece);
  fake().pieces.clear();
  fake().registered = 0;
}

std::vector<std::string> violations() {
  const std::lock_guard lock(fake().mutex);
  return fake().violations;
}

int destroyed() { return fake().destroyed; }
int aborted() { return fake().aborted; }
int allocated() {
  const std::lock_guard lock(fake().mutex);
  return static_cast<int>(fake().pieces.size());
}
int registered() { return fake().registered; }

void launch(cudaStream_t stream, std::function<void()> work) { enqueue(stream, std::move(work)); }

void synchronize(cudaStream_t stream) {
  std::unique_lock lock(stream->mutex);
  stream->changed.wait(lock, [&] { return stream->tasks.empty() && !stream->busy; });
}

void Graph::Recording::run(const std::vector<std::function<void()>>& work) {
  std::mutex done_mutex;
  std::condition_variable changed;
  std::vector<bool> done(work.size(), false);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < work.size(); ++i) {
    threads.emplace_back([&, i] {
      {
        std::unique_lock lock(done_mutex);
        changed.wait(lock, [&] {
          return std::all_of(nodes[i].after.begin(), nodes[i].after.end(),
                             [&](size_t node) { return done[node]; });
        });
      }
      dawdle();
      work[i]();
      const std::lock_guard lock(done_mutex);
      done[i] = true;
      changed.notify_all();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

Graph::Graph(cudaStream_t origin, const std::function<void()>& work)
    : recording_(std::make_shared<Recording>()) {
  recording_->last[origin];
  origin->recording = recording_;
  recorded_here = recording_.get();
  const auto end = [&] {
    recorded_here = nullptr;
    for (const auto& [stream, nodes] : recording_->last) stream->recording = nullptr;
  };
  try {
    work();
  } catch (...) {
    end();
    for (FakeNcclComm* comm : recording_->comms) --comm->graphs;
    throw;
  }
  if (!recording_->all_joined(origin)) {
    violation("a stream that was taken into a recording is not joined");
    recording_->spoilt = true;
  }
  end();
}

Graph::~Graph() {
  for (FakeNcclComm* comm : recording_->comms) --comm->graphs;
}

void Graph::launch(cudaStream_t stream) {
  if (recording_->spoilt) return;
  std::vector<std::function<void()>> work;
  for (const Recording::Node& node : recording_->nodes) work.push_back(node.at_launch());
  enqueue(stream, [recording = recording_, work] { recording->run(work); });
}

void Graph::spoil(cudaStream_t recorded) { recorded->recording->spoilt = true; }

}  // namespace fake_gpu

const char* cudaGetErrorString(cudaError_t code) {
  return code == cudaSuccess ? "no error" : "fake CUDA error";
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = fake().behaviour.devices;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device >= fake().behaviour.devices) return cudaErrorInvalidValue;
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
  std::snprintf(text, size_t(length), "0000:%02x:00.0", fake().behaviour.same_device ? 0 : device);
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, unsigned long bytes) {
  if (const cudaError_t no = refuse_while_recording("cudaMalloc")) return no;
  *memory = std::calloc(1, bytes);
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new FakeStream;
  (*stream)->worker = std::thread(work_off, *stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  {
    const std::lock_guard lock(stream->mutex);
    stream->stop = true;
    stream->changed.notify_all();
  }
  stream->worker.join();
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const bool recorded = stream != nullptr && stream->recording != nullptr;
  *status = !recorded                   ? cudaStreamCaptureStatusNone
            : stream->recording->spoilt ? cudaStreamCaptureStatusInvalidated
                                        : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->recording) {  // takes the stream into the recording
    stream->recording = event->recording;
    const std::lock_guard lock(event->recording->mutex);
    event->recording->last[stream].insert(event->nodes.begin(), event->nodes.end());
    return cudaSuccess;
  }
  if (stream != nullptr && stream->recording) {
    violation("a recorded stream waits for an event from outside");
    stream->recording->spoilt = true;
    return cudaErrorStreamCaptureIsolation;
  }
  int target = 0;
  {
    const std::lock_guard lock(event->mutex);
    target = event->recorded;
  }
  if (target == 0) violation("an event is waited for before it is recorded");
  // Real CUDA lets an event be destroyed while a stream still waits for it; so does the
  // fake (see cudaEventDestroy).
  enqueue(stream, [event, target] {
    std::unique_lock lock(event->mutex);
    event->changed.wait(lock, [&] { return event->reached >= target; });
  });
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = kept(new FakeEvent);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->recording = stream != nullptr ? stream->recording : nullptr;
  if (event->recording) {
    const std::lock_guard lock(event->recording->mutex);
    event->nodes = event->recording->last[stream];
    return cudaSuccess;
  }
  {
    const std::lock_guard lock(event->mutex);
    ++event->recorded;
  }
  enqueue(stream, [event] {
    const std::lock_guard lock(event->mutex);
    ++event->reached;
    event->changed.notify_all();
  });
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (const cudaError_t no = refuse_while_recording("cudaEventQuery")) return no;
  if (event->recording) {
    violation("a recorded event is asked for");
    return cudaErrorCapturedEvent;
  }
  const std::lock_guard lock(event->mutex);
  return event->reached == event->recorded ? cudaSuccess : cudaErrorNotReady;
}

ncclResult_t ncclGetVersion(int* version) {
  *version = fake().behaviour.version;
  return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(fake().mutex);
  std::snprintf(id->internal, sizeof id->internal, "world %d", fake().next_id++);
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (config->blocking != 0) violation("a blocking communicator cannot have a deadline");
  std::shared_ptr<NcclWorld> world;
  {
    const std::lock_guard lock(fake().mutex);
    auto& slot = fake().worlds[id.internal];
    if (!slot) slot = std::make_shared<NcclWorld>();
    world = slot;
  }
  const std::lock_guard lock(world->mutex);
  world->size = size;
  ++world->joined;
  for (const auto& [other, device] : world->device_of) {
    if (device == current_device) violation("two ranks on device " + std::to_string(device));
  }
  world->device_of[rank] = current_device;
  *comm = kept(new FakeNcclComm);
  (*comm)->world = world;
  (*comm)->rank = rank;
  (*comm)->polls = 3;
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  *state = comm->state;
  bool all_joined = false;
  {
    const std::lock_guard lock(comm->world->mutex);
    all_joined = comm->world->joined == comm->world->size && !fake().behaviour.init_never_ends;
  }
  if (*state == ncclSuccess && (!all_joined || comm->polls-- > 0)) *state = ncclInProgress;
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (comm->gone || comm->aborted) violation("finalize of a communicator that is gone");
  if (comm->graphs > 0) violation("finalize of a communicator whose operations a graph holds");
  comm->polls = 2;
  return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  if (comm->gone || comm->aborted) violation("destroy of a communicator that is gone");
  comm->gone = true;
  ++fake().destroyed;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  if (comm->gone || comm->aborted) violation("abort of a communicator that is gone");
  if (comm->graphs > 0) violation("abort of a communicator whose operations a graph holds");
  comm->aborted = true;
  ++fake().aborted;
  return ncclSuccess;
}
ncclResult_t ncclMemAlloc(void** data, size_t bytes) {
  *data = std::malloc(bytes);
  const std::lock_guard lock(fake().mutex);
  fake().pieces.insert(*data);
  return ncclSuccess;
}
ncclResult_t ncclMemFree(void* data) {
  const std::lock_guard lock(fake().mutex);
  fake().pieces.erase(data);
  std::free(data);
  return ncclSuccess;
}
ncclResult_t ncclCommRegister(ncclComm_t comm, void* data, size_t, void** handle) {
  if (comm->gone || comm->aborted) violation("memory registered with a communicator that is gone");
  *handle = data;
  ++fake().registered;
  return ncclSuccess;
}
ncclResult_t ncclCommDeregister(ncclComm_t comm, void*) {
  if (comm->gone || comm->aborted) violation("memory given back to a communicator that is gone");
  --fake().registered;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t code) {
  return code == ncclSystemError ? "unhandled system error" : "fake NCCL error";
}
const char* ncclGetLastError(ncclComm_t) { return "fake"; }
ncclResult_t ncclAllReduce(const void* in, void* out, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  const ReduceOp reduce = op == ncclSum   ? ReduceOp::sum
                          : op == ncclMax ? ReduceOp::max
                                          : ReduceOp::min;
  return start(comm, stream, {"all_reduce", in, out, int64_t(count), type_of(type), reduce});
}
ncclResult_t ncclBroadcast(const void* in, void* out, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return start(comm, stream, {"broadcast", in, out, int64_t(count), type_of(type), {}, root});
}
ncclResult_t ncclReduceScatter(const void* in, void* out, size_t out_count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  const ReduceOp reduce = op == ncclSum   ? ReduceOp::sum
                          : op == ncclMax ? ReduceOp::max
                                          : ReduceOp::min;
  return start(
      comm, stream,
      {"reduce_scatter", in, out, int64_t(out_count) * comm->world->size, type_of(type), reduce});
}
ncclResult_t ncclAllGather(const void* in, void* out, size_t in_count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return start(comm, stream, {"all_gather", in, out, int64_t(in_count), type_of(type)});
}
