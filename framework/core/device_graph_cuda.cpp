// CUDA: a graph of LibTorch, whose memory pool keeps the addresses of tensors made while recording.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <map>
#include <mutex>

#include "framework/core/device_graph.hpp"

namespace scorenet {
namespace {

// The default stream cannot be recorded. Always the same one of a device: a backward pass runs on
// the stream on which its forward pass was recorded.
c10::cuda::CUDAStream recorded_stream(torch::Device device) {
  static std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
  const auto found = streams.find(device.index());
  if (found != streams.end()) return found->second;
  const auto stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index());
  return streams.emplace(device.index(), stream).first->second;
}

class CudaGraph final : public DeviceGraph {
 public:
  void record(torch::Device device, const std::function<void()>& work, const CudaGraph* beside) {
    // While one thread records, no other may wait for the whole device.
    static std::mutex one_at_a_time;
    const std::lock_guard lock(one_at_a_time);
    // Nothing may be under way on other streams, and what the eager steps kept in the cache is
    // about to be needed a second time.
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    const c10::cuda::CUDAStreamGuard side(recorded_stream(device));
    // thread_local: other threads (the heartbeat's, a loader's) go on with what they do.
    graph_.capture_begin(beside ? beside->graph_.pool() : at::cuda::MempoolId_t{0, 0},
                         cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      try {
        graph_.capture_end();
      } catch (const std::exception&) {  // the first error is the one to tell
      }
      throw;
    }
    graph_.capture_end();
  }

  void launch() override { graph_.replay(); }

 private:
  mutable at::cuda::CUDAGraph graph_;  // pool() is not const
};

}  // namespace

bool records_graphs(torch::Device device) { return device.is_cuda(); }

std::unique_ptr<DeviceGraph> record_graph(torch::Device device, const std::function<void()>& work,
                                          const DeviceGraph* beside) {
  auto graph = std::make_unique<CudaGraph>();
  graph->record(device, work, static_cast<const CudaGraph*>(beside));
  return graph;
}

void* current_cuda_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

}  // namespace scorenet
