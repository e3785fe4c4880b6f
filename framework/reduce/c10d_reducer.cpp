#include "framework/reduce/c10d_reducer.hpp"

#include <ATen/ops/_foreach_zero.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <queue>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>
#include <utility>

#include "framework/core/error.hpp"

namespace scorenet::reduce {
namespace {

using FuturePtr = c10::intrusive_ptr<c10::ivalue::Future>;

/// c10d wants futures that complete by themselves: this thread waits for our operations in turn
/// and completes them.
class Completer {
 public:
  Completer() : thread_([this] { run(); }) {}
  ~Completer() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Completer(const Completer&) = delete;
  Completer& operator=(const Completer&) = delete;

  void push(comm::Work work, FuturePtr future, std::vector<at::Tensor> tensors) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push({std::move(work), std::move(future), std::move(tensors)});
    }
    changed_.notify_all();
  }

 private:
  struct Entry {
    comm::Work work;
    FuturePtr future;
    std::vector<at::Tensor> tensors;
  };

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (queue_.empty()) return;
      Entry entry = std::move(queue_.front());
      queue_.pop();
      lock.unlock();
      try {
        entry.work.wait();
        entry.future->markCompleted(c10::IValue(entry.tensors));
      } catch (...) {
        entry.future->setError(std::current_exception());
      }
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::queue<Entry> queue_;
  bool stop_ = false;
  std::thread thread_;
};

class WorkOfFuture final : public c10d::Work {
 public:
  explicit WorkOfFuture(FuturePtr future) : future_(std::move(future)) {}
  bool isCompleted() override { return future_->completed(); }
  bool wait(std::chrono::milliseconds) override {
    future_->wait();
    if (future_->hasError()) std::rethrow_exception(future_->exception_ptr());
    return true;
  }
  FuturePtr getFuture() override { return future_; }

 private:
  FuturePtr future_;
};

comm::Buffer buffer_of(const at::Tensor& tensor) {
  if (!tensor.is_contiguous() || !tensor.is_cpu()) {
    throw ShapeError("c10d reducer: only dense tensors in host memory are moved.");
  }
  const auto type = tensor.scalar_type();
  if (type != at::kFloat && type != at::kDouble && type != at::kInt && type != at::kLong) {
    throw ShapeError(std::string("c10d reducer: type ") + c10::toString(type) +
                     "; expected float32, float64, int32 or int64.");
  }
  const comm::DataType data_type = type == at::kFloat    ? comm::DataType::float32
                                   : type == at::kDouble ? comm::DataType::float64
                                   : type == at::kInt    ? comm::DataType::int32
                                                         : comm::DataType::int64;
  return {tensor.data_ptr(), tensor.numel(), data_type};
}

/// The two collectives that c10d::Reducer calls.
class CommunicatorBackend final : public c10d::Backend {
 public:
  explicit CommunicatorBackend(comm::Communicator& communicator)
      : Backend(communicator.rank(), communicator.size()), communicator_(communicator) {}

  const std::string getBackendName() const override { return "scorenet"; }

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors,
                                           const c10d::AllreduceOptions&) override {
    const comm::Buffer buffer = buffer_of(tensors.at(0));
    ++calls;
    bytes += buffer.bytes();
    return pending(communicator_.all_reduce(buffer, comm::ReduceOp::sum, "c10d bucket"), tensors);
  }

  c10::intrusive_ptr<c10d::Work> broadcast(std::vector<at::Tensor>& tensors,
                                           const c10d::BroadcastOptions& options) override {
    return pending(communicator_.broadcast(buffer_of(tensors.at(0)), int(options.rootRank), "c10d"),
                   tensors);
  }

  int64_t calls = 0;
  int64_t bytes = 0;

 private:
  c10::intrusive_ptr<c10d::Work> pending(comm::Work work, const std::vector<at::Tensor>& tensors) {
    auto future =
        c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
    completer_.push(std::move(work), future, tensors);
    return c10::make_intrusive<WorkOfFuture>(future);
  }

  comm::Communicator& communicator_;
  Completer completer_;
};

std::vector<std::vector<size_t>> assign_buckets(const std::vector<at::Tensor>& parameters,
                                                const C10dOptions& options) {
  const std::vector<size_t> caps{size_t(options.first_bytes), size_t(options.cap_bytes)};
  auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(
      parameters, caps, std::vector<bool>(parameters.size(), false)));
  // Registration order to order of backward: the Python wrapper's duty.
  std::reverse(buckets.begin(), buckets.end());
  return buckets;
}

}  // namespace

class C10dReducer::Impl {
 public:
  Impl(std::vector<torch::Tensor> parameters, comm::Communicator& communicator,
       const C10dOptions& options)
      : parameters_(std::move(parameters)),
        backend_(c10::make_intrusive<CommunicatorBackend>(communicator)),
        group_(c10::make_intrusive<c10d::ProcessGroup>(communicator.rank(), communicator.size())) {
    group_->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::CUSTOM, backend_);
    group_->setDefaultBackend(c10d::ProcessGroup::BackendType::CUSTOM);
    std::unordered_map<size_t, std::string> names;
    for (size_t i = 0; i < parameters_.size(); ++i) names[i] = std::to_string(i);
    reducer_ = std::make_unique<c10d::Reducer>(
        parameters_, assign_buckets(parameters_, options), group_,
        std::vector<bool>(parameters_.size(), false), options.cap_bytes,
        /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/true, names,
        options.first_bytes, /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
        std::vector<int64_t>{});
  }

  void zero() {
    std::vector<at::Tensor> gradients;
    for (const torch::Tensor& p : parameters_) {
      if (p.grad().defined()) gradients.push_back(p.grad());
    }
    if (!gradients.empty()) at::_foreach_zero_(gradients);
  }

  void begin() {
    reducer_->prepare_for_forward();
    reducer_->rebuild_buckets();
    reducer_->prepare_for_backward({});
  }

  const CommunicatorBackend& backend() const { return *backend_; }

 private:
  std::vector<torch::Tensor> parameters_;
  c10::intrusive_ptr<CommunicatorBackend> backend_;
  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  std::unique_ptr<c10d::Reducer> reducer_;
};

C10dReducer::C10dReducer(std::vector<torch::Tensor> parameters, comm::Communicator& communicator,
                         const C10dOptions& options)
    : impl_(std::make_unique<Impl>(std::move(parameters), communicator, options)) {}
C10dReducer::~C10dReducer() = default;
void C10dReducer::zero_gradients() { impl_->zero(); }
void C10dReducer::begin() { impl_->begin(); }
int64_t C10dReducer::calls() const { return impl_->backend().calls; }
int64_t C10dReducer::bytes() const { return impl_->backend().bytes; }

}  // namespace scorenet::reduce
