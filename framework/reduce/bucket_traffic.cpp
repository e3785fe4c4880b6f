#include "framework/reduce/bucket_traffic.hpp"

#include <map>
#include <utility>

#include "framework/core/error.hpp"
#include "framework/reduce/shards.hpp"

namespace scorenet::reduce {
namespace {

comm::DataType comm_type(torch::Dtype dtype) {
  switch (dtype) {
    case torch::kFloat32:
      return comm::DataType::float32;
    case torch::kFloat64:
      return comm::DataType::float64;
    case torch::kBFloat16:
      return comm::DataType::bfloat16;
    case torch::kFloat16:
      return comm::DataType::float16;
    default:
      throw ShapeError(std::string("gradient reducer: gradients of type ") + c10::toString(dtype) +
                       "; expected float32, float64, bfloat16 or float16.");
  }
}

std::string tag_of(int64_t bucket) { return "gradient bucket " + std::to_string(bucket); }

/// One collective a bucket, waited for in complete().
class OneCollective : public BucketTraffic {
 public:
  void complete(int64_t bucket) override {
    work_.at(bucket).wait();
    work_.erase(bucket);
  }
  void join(int64_t bucket) override { work_.at(bucket).join(); }
  void settle() override {
    for (auto& [bucket, work] : work_) work.wait();
    work_.clear();
  }
  void poll() override {
    if (!work_.empty()) work_.begin()->second.is_done();
  }

 protected:
  void under_way(int64_t bucket, comm::Work work) {
    work_[bucket].wait();  // of the step before, where join() left it
    work_[bucket] = std::move(work);
  }

 private:
  std::map<int64_t, comm::Work> work_;
};

class AllReduce final : public OneCollective {
 public:
  explicit AllReduce(const TrafficContext& context)
      : context_(context), type_(comm_type(context.flat_gradient.scalar_type())) {}

  void start(int64_t b) override {
    const Bucket& bucket = context_.buckets[size_t(b)];
    const torch::Tensor& flat = context_.flat_gradient;
    const comm::Buffer buffer{
        static_cast<char*>(flat.data_ptr()) + bucket.offset * flat.element_size(), bucket.count,
        type_};
    count(buffer.bytes());
    under_way(b, context_.communicator.all_reduce(buffer, comm::ReduceOp::sum, tag_of(b)));
  }

 private:
  TrafficContext context_;
  comm::DataType type_;
};

class Scatter final : public OneCollective {
 public:
  Scatter(const TrafficContext& context, const Shards& shards, torch::Tensor part)
      : context_(context), shards_(shards), part_(std::move(part)) {}

  void start(int64_t b) override {
    count(context_.buckets[size_t(b)].count * int64_t(sizeof(float)));
    under_way(b, shards_.reduce(size_t(b), context_.flat_gradient, part_, tag_of(b)));
  }

 private:
  TrafficContext context_;
  const Shards& shards_;
  torch::Tensor part_;
};

}  // namespace

MakeTraffic all_reduce_traffic() {
  return [](const TrafficContext& context) { return std::make_unique<AllReduce>(context); };
}

MakeTraffic scatter_traffic(const Shards& shards, torch::Tensor part) {
  return [&shards, part](const TrafficContext& context) {
    return std::make_unique<Scatter>(context, shards, part);
  };
}

}  // namespace scorenet::reduce
