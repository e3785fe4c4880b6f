#include "framework/reduce/gradient_reducer.hpp"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "framework/comm/deadline.hpp"
#include "framework/comm/flight_recorder.hpp"
#include "framework/core/check.hpp"
#include "framework/core/error.hpp"

namespace scorenet::reduce {
class GradientReducer::Impl {
 public:
  Impl(std::vector<torch::Tensor> parameters, torch::Tensor flat, const FlatLayout& layout,
       comm::Communicator& communicator, const ReducerOptions& options)
      : parameters_(std::move(parameters)),
        flat_(std::move(flat)),
        layout_(layout),
        communicator_(communicator),
        host_(options.host ? *options.host : communicator),
        trial_(options.overlap),
        names_(options.names),
        allow_unused_(options.allow_unused) {
    check_flat();
    for (size_t i = names_.size(); i < parameters_.size(); ++i) names_.push_back(std::to_string(i));
    for (size_t i = 0; i < parameters_.size(); ++i) attach(i);
    buckets_ = options.buckets.empty() ? plan_buckets(layout, flat_.element_size(), options.caps)
                                       : options.buckets;
    traffic_ = (options.traffic ? options.traffic : all_reduce_traffic())(
        {flat_, parameters_, layout_, buckets_, communicator_, names_});
    bucket_of_.resize(parameters_.size());
    for (size_t b = 0; b < buckets_.size(); ++b) {
      for (const int64_t p : buckets_[b].parameters) bucket_of_[size_t(p)] = b;
    }
    reobserve();
  }

  bool alone() const { return communicator_.size() == 1; }
  size_t parameter_count() const { return parameters_.size(); }
  const torch::Tensor& parameter(size_t i) const { return parameters_[i]; }

  void zero() { flat_.zero_(); }

  void begin(bool synchronise) {
    synchronising_ = synchronise && !alone();
    if (!synchronising_) return;
    stats_ = {};
    ready_.assign(parameters_.size(), false);
    ready_order_.clear();
    missing_.assign(buckets_.size(), 0);
    for (size_t i = 0; i < parameters_.size(); ++i) missing_[bucket_of_[i]] += trains(i) ? 1 : 0;
    stats_.buckets.resize(buckets_.size());
    calls_before_ = traffic_->calls();
    bytes_before_ = traffic_->bytes();
    complete_ = 0;
    launched_ = 0;
    overlapping_ = trial_.overlaps();
    begin_ = comm::Clock::now();
    stats_.begin_wall_s = comm::wall_seconds();
    count_complete();
  }

  /// Called by autograd when parameter i's gradient has been added to its view.
  void on_gradient(size_t i) {
    if (!synchronising_) return;
    if (ready_[i]) {
      throw ShapeError("gradient reducer: " + describe(i) +
                       " got a second gradient in the synchronised backward. Run earlier "
                       "micro-batches after begin(false).");
    }
    ready_[i] = true;
    ready_order_.push_back(int64_t(i));
    if (--missing_[bucket_of_[i]] == 0) {
      stats_.buckets[bucket_of_[i]].ready_s = comm::seconds_since(begin_);
      if (launch_order_[complete_] != int64_t(bucket_of_[i])) ++stats_.overtaken;
    }
    count_complete();
    if (!overlapping_) return;
    while (launched_ < complete_) launch_next();
    traffic_->poll();
  }

  void finish(bool on_device) {
    if (!synchronising_) return;
    synchronising_ = false;
    const auto start = comm::Clock::now();
    check_views();
    check_unused();
    while (launched_ < buckets_.size()) launch_next();
    for (const int64_t b : launch_order_) traffic_->advance(b);
    for (const int64_t b : launch_order_) {
      if (on_device) {
        traffic_->join(b);
      } else {
        traffic_->complete(b);
      }
      stats_.buckets[size_t(b)].done_s = comm::seconds_since(begin_);
    }
    count_traffic();
    stats_.exposed_seconds = comm::seconds_since(start);
    if (!trial_.decided()) measure_overlap();
    if (observed_.empty()) agree_on_order();
  }

  void settle() { traffic_->settle(); }

  void reobserve() {
    observed_.clear();
    launch_order_.resize(buckets_.size());
    std::iota(launch_order_.begin(), launch_order_.end(), 0);
  }

  const std::vector<Bucket>& buckets() const { return buckets_; }
  const std::vector<int64_t>& launch_order() const { return launch_order_; }
  const std::vector<int64_t>& observed_order() const { return observed_; }
  const ReducerStats& stats() const { return stats_; }
  const OverlapTrial& overlap() const { return trial_; }
  std::vector<TrafficState> traffic_state() const { return traffic_->state(); }

 private:
  /// Frozen parameters lie in the flat buffers too; their gradient stays zero and nobody
  /// waits for it.
  bool trains(size_t i) const { return parameters_[i].requires_grad(); }

  void check_flat() const {
    if (layout_.offsets.size() != parameters_.size() || flat_.dim() != 1 ||
        flat_.numel() != layout_.total || !flat_.is_contiguous()) {
      throw ShapeError("gradient reducer: flat gradient of shape " + shape_string(flat_.sizes()) +
                       " for " + std::to_string(parameters_.size()) +
                       " parameters; the layout has (" + std::to_string(layout_.total) + ") for " +
                       std::to_string(layout_.offsets.size()) + ".");
    }
  }

  void attach(size_t i) {
    torch::Tensor& p = parameters_[i];
    if (p.numel() != layout_.sizes[i] || p.scalar_type() != flat_.scalar_type() ||
        p.device() != flat_.device() || !p.is_non_overlapping_and_dense() || !p.is_leaf()) {
      throw ShapeError("gradient reducer: parameter " + std::to_string(i) + " of shape " +
                       shape_string(p.sizes()) + " must be a dense leaf of " +
                       std::to_string(layout_.sizes[i]) +
                       " elements and of the flat gradient's type and device.");
    }
    p.mutable_grad() =
        flat_.as_strided(p.sizes(), p.strides(), flat_.storage_offset() + layout_.offsets[i]);
    addresses_.push_back(p.grad().data_ptr());
  }

  void check_views() const {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const torch::Tensor& grad = parameters_[i].grad();
      if (grad.defined() && grad.data_ptr() == addresses_[i]) continue;
      throw ShapeError("gradient reducer: .grad of " + describe(i) +
                       " is no longer its view of the bucket. Use zero_gradients(), never "
                       "zero_grad() or an assignment.");
    }
  }

  void count_complete() {
    while (complete_ < buckets_.size() && missing_[size_t(launch_order_[complete_])] == 0)
      ++complete_;
  }

  void launch_next() {
    if (launched_ == 0) stats_.before_first_seconds = comm::seconds_since(begin_);
    const int64_t b = launch_order_[launched_++];
    stats_.buckets[size_t(b)].start_s = comm::seconds_since(begin_);
    traffic_->start(b);
    count_traffic();
  }

  void count_traffic() {
    stats_.calls = traffic_->calls() - calls_before_;
    stats_.bytes = traffic_->bytes() - bytes_before_;
  }

  /// A rank with an empty share has run no backward: its zeros are right.
  void check_unused() {
    std::string first;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (!trains(i) || ready_[i]) continue;
      if (stats_.unused_parameters++ == 0) first = describe(i);
    }
    if (allow_unused_ || first.empty() || ready_order_.empty()) return;
    throw ConfigError("gradient reducer: " + first +
                      " got no gradient in this backward pass, and " +
                      std::to_string(stats_.unused_parameters - 1) +
                      " more. The network does not use them: take them out, or set "
                      "comm.allow_unused = true.");
  }

  std::string describe(size_t i) const {
    return "parameter " + names_[i] + " of shape " + shape_string(parameters_[i].sizes());
  }

  void measure_overlap() {
    trial_.record(comm::seconds_since(begin_));
    if (!trial_.is_complete()) return;
    uint8_t on = trial_.better_on() ? 1 : 0;
    host_.broadcast({&on, 1, comm::DataType::uint8}, 0, "overlap of traffic").wait();
    trial_.decide(on != 0);
  }

  /// Rank zero's order of readiness becomes everybody's; parameters it did not see come last.
  void agree_on_order() {
    std::vector<int64_t> order = ready_order_;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (!ready_[i]) order.push_back(int64_t(i));
    }
    host_
        .broadcast({order.data(), int64_t(order.size()), comm::DataType::int64}, 0,
                   "observed gradient order")
        .wait();
    observed_ = std::move(order);
    std::vector<int64_t> ready_at(buckets_.size(), -1);
    for (size_t k = 0; k < observed_.size(); ++k) {
      if (!trains(size_t(observed_[k]))) continue;
      ready_at[bucket_of_[size_t(observed_[k])]] = int64_t(k);  // the last of its parameters
    }
    std::stable_sort(launch_order_.begin(), launch_order_.end(), [&](int64_t a, int64_t b) {
      return ready_at[size_t(a)] < ready_at[size_t(b)];
    });
  }

  std::vector<torch::Tensor> parameters_;
  torch::Tensor flat_;
  FlatLayout layout_;
  comm::Communicator& communicator_;
  comm::Communicator& host_;
  OverlapTrial trial_;
  std::vector<std::string> names_;
  bool allow_unused_;
  std::vector<const void*> addresses_;  // of each gradient, by parameter
  std::vector<Bucket> buckets_;
  std::unique_ptr<BucketTraffic> traffic_;
  std::vector<size_t> bucket_of_;  // by parameter
  std::vector<int64_t> launch_order_;
  std::vector<int64_t> observed_;

  // Of the synchronised backward under way.
  bool synchronising_ = false;
  std::vector<bool> ready_;
  std::vector<int64_t> ready_order_;
  std::vector<size_t> missing_;  // gradients still to come, by bucket
  size_t complete_ = 0;          // how many of launch_order_ have all their gradients
  size_t launched_ = 0;          // how many of launch_order_
  bool overlapping_ = true;
  int64_t calls_before_ = 0, bytes_before_ = 0;
  comm::Clock::time_point begin_;
  ReducerStats stats_;
};

namespace {

/// Tells the reducer that a gradient is ready. Holds it weakly: parameters may outlive it.
template <typename Impl>
class ReadyHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  ReadyHook(std::weak_ptr<Impl> impl, size_t index) : impl_(std::move(impl)), index_(index) {}
  void operator()(const torch::autograd::Variable&) override {
    if (const auto impl = impl_.lock()) impl->on_gradient(index_);
  }

 private:
  std::weak_ptr<Impl> impl_;
  size_t index_;
};

}  // namespace

GradientReducer::GradientReducer(std::vector<torch::Tensor> parameters, torch::Tensor flat_gradient,
                                 const FlatLayout& layout, comm::Communicator& communicator,
                                 const ReducerOptions& options)
    : impl_(std::make_shared<Impl>(std::move(parameters), std::move(flat_gradient), layout,
                                   communicator, options)) {
  if (impl_->alone()) return;
  for (size_t i = 0; i < impl_->parameter_count(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(impl_->parameter(i),
                                                   std::make_unique<ReadyHook<Impl>>(impl_, i));
  }
}

GradientReducer::~GradientReducer() {
  if (impl_->alone()) return;
  for (size_t i = 0; i < impl_->parameter_count(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(impl_->parameter(i), nullptr);
  }
}

void GradientReducer::zero_gradients() { impl_->zero(); }
void GradientReducer::begin(bool synchronise) { impl_->begin(synchronise); }
void GradientReducer::finish() { impl_->finish(/*on_device=*/false); }
void GradientReducer::finish_on_device() { impl_->finish(/*on_device=*/true); }
void GradientReducer::settle() { impl_->settle(); }
void GradientReducer::reobserve() { impl_->reobserve(); }
const std::vector<Bucket>& GradientReducer::buckets() const { return impl_->buckets(); }
const std::vector<int64_t>& GradientReducer::launch_order() const { return impl_->launch_order(); }
const std::vector<int64_t>& GradientReducer::observed_order() const {
  return impl_->observed_order();
}
const ReducerStats& GradientReducer::stats() const { return impl_->stats(); }
const OverlapTrial& GradientReducer::overlap() const { return impl_->overlap(); }
std::vector<TrafficState> GradientReducer::traffic_state() const { return impl_->traffic_state(); }

}  // namespace scorenet::reduce
