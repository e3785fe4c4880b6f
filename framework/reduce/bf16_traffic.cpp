#include "framework/reduce/bf16_traffic.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "framework/core/error.hpp"

namespace scorenet::reduce {
namespace {

comm::Buffer buffer_of(const torch::Tensor& tensor) {
  return {tensor.data_ptr(), tensor.numel(), comm::DataType::bfloat16};
}

class Bf16 final : public BucketTraffic {
 public:
  explicit Bf16(const TrafficContext& context) : context_(context), trips_(context.buckets.size()) {
    if (context.flat_gradient.scalar_type() != torch::kFloat32) {
      throw ShapeError(std::string("bf16 traffic: gradients of type ") +
                       c10::toString(context.flat_gradient.scalar_type()) + "; expected float32.");
    }
  }

  void start(int64_t b) override {
    const Bucket& bucket = context_.buckets[size_t(b)];
    const int64_t n = context_.communicator.size();
    const int64_t part = (bucket.count + n - 1) / n;
    Trip& trip = trips_[size_t(b)];
    const auto options = context_.flat_gradient.options().dtype(torch::kBFloat16);
    trip.sent = torch::zeros({n * part}, options);
    trip.sent.narrow(0, 0, bucket.count).copy_(gradient(bucket));
    trip.received = torch::empty({n, part}, options);
    trip.work = context_.communicator.all_to_all(buffer_of(trip.sent), buffer_of(trip.received),
                                                 tag(b) + ", parts");
    count(trip.sent.nbytes());
  }

  void advance(int64_t b) override {
    Trip& trip = trips_[size_t(b)];
    trip.work.wait();
    trip.sent = trip.received.to(torch::kFloat32).sum(0).to(torch::kBFloat16);
    trip.received = trip.received.view({-1});
    trip.work = context_.communicator.all_gather(buffer_of(trip.sent), buffer_of(trip.received),
                                                 tag(b) + ", sums");
    count(trip.received.nbytes());
  }

  void complete(int64_t b) override {
    const Bucket& bucket = context_.buckets[size_t(b)];
    Trip& trip = trips_[size_t(b)];
    trip.work.wait();
    gradient(bucket).copy_(trip.received.narrow(0, 0, bucket.count));
    trip = {};
  }

  void poll() override {
    for (Trip& trip : trips_) {
      if (trip.sent.defined()) trip.work.is_done();
    }
  }

 private:
  /// A bucket under way.
  struct Trip {
    torch::Tensor sent, received;
    comm::Work work;
  };

  torch::Tensor gradient(const Bucket& bucket) const {
    return context_.flat_gradient.narrow(0, bucket.offset, bucket.count);
  }
  static std::string tag(int64_t b) { return "bf16 gradient bucket " + std::to_string(b); }

  TrafficContext context_;
  std::vector<Trip> trips_;
};

}  // namespace

MakeTraffic bf16_traffic() {
  return [](const TrafficContext& context) { return std::make_unique<Bf16>(context); };
}

}  // namespace scorenet::reduce
