// CUDA: a graph of LibTorch, whose memory pool keeps the addresses of tensors made while recording.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <mutex>

#include "framework/core/device_graph.hpp"

namespace scorenet {
namespace {

class CudaGraph final : public DeviceGraph {
 public:
  void record(torch::Device device, const std::function<void()>& work) {
    // While one thread records, no other may wait for the whole device.
    static std::mutex one_at_a_time;
    const std::lock_guard lock(one_at_a_time);
    // Nothing may be under way on other streams, and what the eager steps kept in the cache is
    // about to be needed a second time.
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    // The default stream cannot be recorded.
    const c10::cuda::CUDAStreamGuard side(
        c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()));
    // thread_local: other threads (the heartbeat's, a loader's) go on with what they do.
    graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
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
  at::cuda::CUDAGraph graph_;
};

}  // namespace

bool records_graphs(torch::Device device) { return device.is_cuda(); }

std::unique_ptr<DeviceGraph> record_graph(torch::Device device, const std::function<void()>& work) {
  auto graph = std::make_unique<CudaGraph>();
  graph->record(device, work);
  return graph;
}

}  // namespace scorenet
