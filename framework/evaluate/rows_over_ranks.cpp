#include "framework/evaluate/rows_over_ranks.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "framework/comm/any_rank.hpp"
#include "framework/core/stop_signal.hpp"

namespace scorenet::evaluate {
namespace {

// LibTorch's kernels on one thread while alive.
class OneThreadKernels {
 public:
  OneThreadKernels() : threads_(torch::get_num_threads()) { torch::set_num_threads(1); }
  ~OneThreadKernels() { torch::set_num_threads(threads_); }
  OneThreadKernels(const OneThreadKernels&) = delete;
  OneThreadKernels& operator=(const OneThreadKernels&) = delete;
  int threads() const { return threads_; }

 private:
  int threads_;
};

// Calls work(0), ..., work(count - 1), each once, on up to `threads` threads.
void run_on_threads(int64_t count, int threads, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto worker = [&] {
    const torch::NoGradGuard no_grad;
    try {
      for (int64_t i = next++; i < count; i = next++) {
        throw_if_stop_asked();
        work(i);
      }
    } catch (...) {
      next = count;
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (int64_t i = 1; i < std::min<int64_t>(threads, count); ++i) others.emplace_back(worker);
    worker();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

torch::Tensor rows_over_ranks(comm::Communicator& comm, int64_t n, c10::IntArrayRef row_shape,
                              int64_t batch, const ComputeRows& compute) {
  std::vector<int64_t> shape{n};
  shape.insert(shape.end(), row_shape.begin(), row_shape.end());
  torch::Tensor all = torch::zeros(shape, torch::kFloat64);
  const int64_t batches = (n + batch - 1) / batch;
  const int64_t mine = (batches - comm.rank() + comm.size() - 1) / comm.size();
  bool stopped = false;
  try {
    const OneThreadKernels kernels;
    run_on_threads(mine, kernels.threads(), [&](int64_t i) {
      const int64_t first = (comm.rank() + i * comm.size()) * batch;
      const int64_t count = std::min(batch, n - first);
      all.narrow(0, first, count).copy_(compute(first, count));
    });
  } catch (const StopRequested&) {
    stopped = true;
  }
  if (comm::any_rank(comm, stopped, "rows given up")) {
    ask_to_stop();
    throw_if_stop_asked();
  }
  const comm::Buffer buffer{all.data_ptr(), all.numel(), comm::DataType::float64};
  comm.all_reduce_now(buffer, comm::ReduceOp::sum, "rows of all ranks");
  return all;
}

}  // namespace scorenet::evaluate
