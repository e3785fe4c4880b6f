// A fake CUDA runtime and a fake NCCL on host memory: ranks are threads of one process, streams
// are worker threads.
//
// It enforces what real NCCL answers with a hang or wrong numbers, and notes each breach in
// violations(): the same sequence of operations on all ranks, buffers untouched between start and
// completion, no use after abort or destroy, one rank a device, an event recorded before it is
// waited for, every group closed, sends and receives between ranks only in groups (outside one they
// wait for one another) and of equal size on both sides. Everything is delivered late on purpose,
// so that a missing wait shows.
//
// Graph records what streams are given, as cudaStreamBeginCapture does in its thread-local mode:
// a stream that waits for an event of a recorded one is recorded too, and must be joined again. A
// launch does all of it anew, each piece on a thread of its own, as soon as those before it are
// done. Breaches: a branch that is not joined, asking for events or memory while recording, an
// operation that has not run before (its connections would not stand), and a communicator that ends
// before a graph with its operations. A test tool: never shipped, never benchmarked.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace fake_gpu {

/// How the world behaves; set before the ranks start.
struct Behaviour {
  int devices = 8;
  int version = NCCL_VERSION_CODE;
  bool same_device = false;  // all ranks report one PCI bus id, as two processes on one GPU do
  double delay_s = 1e-3;     // of each task of a stream, on average
  int failing_rank = -1;     // this rank's operation `failing_call` ends in ncclSystemError
  int failing_call = 0;
  int silent_rank = -1;          // this rank's stream never reaches its NCCL operations
  bool init_never_ends = false;  // ncclCommInitRankConfig stays ncclInProgress
};

void reset(const Behaviour& behaviour);
/// The rules broken since reset().
std::vector<std::string> violations();
/// How many communicators were destroyed and aborted since reset().
int destroyed();
int aborted();
/// Of memory from ncclMemAlloc: pieces that are not freed, and pieces that are registered.
int allocated();
int registered();

/// A kernel: `work` runs on the stream after all that was queued before.
void launch(cudaStream_t stream, std::function<void()> work);
/// Waits until the stream is empty.
void synchronize(cudaStream_t stream);

/// A recording of what `work` gives to `origin` and to streams that wait for it. Nothing of it is
/// done before launch(). Destroyed while it is under way it goes on to its end.
class Graph {
 public:
  Graph(cudaStream_t origin, const std::function<void()>& work);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void launch(cudaStream_t stream);
  /// As a call that cannot be recorded does, from within `work`.
  static void spoil(cudaStream_t recorded);

  struct Recording;

 private:
  std::shared_ptr<Recording> recording_;
};

}  // namespace fake_gpu
