#include "framework/reduce/powersgd_traffic.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "framework/core/error.hpp"
#include "framework/core/random.hpp"

namespace scorenet::reduce {
namespace {

constexpr double kTiny = 1e-20;  // a column that vanished: it stays zero instead of 0 / 0

/// Modified Gram-Schmidt on the columns of p (m, rank), in place. The bits depend on p alone.
void orthonormalise(const torch::Tensor& p) {
  for (int64_t i = 0; i < p.size(1); ++i) {
    const torch::Tensor column = p.select(1, i);
    for (int64_t j = 0; j < i; ++j) {
      const torch::Tensor earlier = p.select(1, j);
      column.sub_(earlier * earlier.dot(column));
    }
    column.div_(column.norm() + kTiny);
  }
}

bool finite(const torch::Tensor& values) { return values.isfinite().all().item<bool>(); }

/// A gradient that is sent as two thin matrices.
struct Matrix {
  size_t parameter = 0;
  torch::Tensor gradient;  // (m, k), view of the flat gradient
  torch::Tensor error;     // (m, k), view of the flat errors
  torch::Tensor q;         // (k, rank), from the step before
  torch::Tensor p;         // (m, rank), view of its bucket's left message
  torch::Tensor next_q;    // (k, rank), view of its bucket's right message
};

/// A gradient that is sent as it is.
struct Plain {
  torch::Tensor gradient;  // (size), view of the flat gradient
  torch::Tensor sent;      // (size), view of its bucket's left message
};

struct Parcel {
  std::vector<Matrix> matrices;
  std::vector<Plain> plain;
  torch::Tensor left, right;  // what is all-reduced, one after the other
  comm::Work work;
};

class PowerSgd final : public BucketTraffic {
 public:
  PowerSgd(const TrafficContext& context, int64_t rank)
      : context_(context),
        rank_(rank),
        errors_(torch::zeros_like(context.flat_gradient)),
        parcels_(context.buckets.size()) {
    if (rank < 1 || context.flat_gradient.scalar_type() != torch::kFloat32) {
      throw ConfigError("comm.powersgd_rank = " + std::to_string(rank) + " for gradients of type " +
                        c10::toString(context.flat_gradient.scalar_type()) +
                        ": must be at least 1, and they float32.");
    }
    for (size_t b = 0; b < parcels_.size(); ++b) pack(context.buckets[b], parcels_[b]);
  }

  void start(int64_t b) override {
    const torch::NoGradGuard no_grad;
    Parcel& parcel = parcels_[size_t(b)];
    // P = sum_r M_r Q: this rank's share, to be summed over the ranks.
    for (Matrix& m : parcel.matrices) {
      m.gradient.add_(m.error);  // error feedback: what earlier steps left out is sent now
      m.p.copy_(m.gradient.mm(m.q));
    }
    for (Plain& plain : parcel.plain) plain.sent.copy_(plain.gradient);
    send(parcel, parcel.left, b);
  }

  void advance(int64_t b) override {
    const torch::NoGradGuard no_grad;
    Parcel& parcel = parcels_[size_t(b)];
    parcel.work.wait();
    for (Matrix& m : parcel.matrices) {
      const bool usable = finite(m.p);  // the same answer on all ranks
      // P is a sum, so all ranks have its bits, and each finds the same orthonormal columns.
      orthonormalise(m.p);
      // With orthonormal P, P P^T M is the best approximation of M in P's columns.
      m.next_q.copy_(m.gradient.t().mm(m.p));
      // A step that is not finite is skipped: its error must not reach the next one.
      if (usable) m.error.copy_(m.gradient - m.p.mm(m.next_q.t()));
    }
    send(parcel, parcel.right, b);
  }

  void complete(int64_t b) override {
    const torch::NoGradGuard no_grad;
    Parcel& parcel = parcels_[size_t(b)];
    parcel.work.wait();
    // The approximate sum takes the gradient's place; Q is where the next step's power iteration
    // starts.
    for (Matrix& m : parcel.matrices) {
      m.gradient.copy_(m.p.mm(m.next_q.t()));
      if (finite(m.next_q)) m.q.copy_(m.next_q);
    }
    for (Plain& plain : parcel.plain) plain.gradient.copy_(plain.sent);
  }

  void poll() override {
    for (Parcel& parcel : parcels_) parcel.work.is_done();
  }

  std::vector<TrafficState> state() const override {
    std::vector<TrafficState> all{{"powersgd.error", TrafficState::Kind::summed, errors_}};
    for (const Parcel& parcel : parcels_) {
      for (const Matrix& m : parcel.matrices) {
        all.push_back(
            {"powersgd.q." + context_.names[m.parameter], TrafficState::Kind::equal, m.q});
      }
    }
    return all;
  }

 private:
  void pack(const Bucket& bucket, Parcel& parcel) {
    int64_t left = 0, right = 0;
    const auto matrix_shape = [&](size_t p) {
      const torch::Tensor& parameter = context_.parameters[p];
      const int64_t m = parameter.dim() >= 2 ? parameter.size(0) : 0;
      return std::pair(m, m > 0 ? parameter.numel() / m : 0);
    };
    const auto view = [&](const torch::Tensor& flat, size_t p) {
      return flat.narrow(0, context_.layout.offsets[p], context_.layout.sizes[p]);
    };
    for (const int64_t index : bucket.parameters) {
      const auto p = size_t(index);
      const auto [m, k] = matrix_shape(p);
      if (rank_ * (m + k) < m * k) {  // two thin matrices are smaller than the gradient
        // The first Q is random and the same on all ranks.
        const torch::Tensor q = normal_for_slots({0, RandomStream::initial_weights, uint64_t(p)},
                                                 {0}, {k, rank_}, torch::kFloat32)[0]
                                    .to(context_.flat_gradient.device());
        parcel.matrices.push_back({p,
                                   view(context_.flat_gradient, p).view({m, k}),
                                   view(errors_, p).view({m, k}),
                                   q,
                                   {},
                                   {}});
        left += m * rank_;
        right += k * rank_;
      } else {
        parcel.plain.push_back({view(context_.flat_gradient, p), {}});
        left += context_.layout.sizes[p];
      }
    }
    parcel.left = torch::zeros({left}, context_.flat_gradient.options());
    parcel.right = torch::zeros({right}, context_.flat_gradient.options());
    // All P of a bucket, and its plain gradients, lie in one message; all Q in a second.
    int64_t at = 0, at_right = 0;
    for (Matrix& m : parcel.matrices) {
      m.p = parcel.left.narrow(0, at, m.gradient.size(0) * rank_).view({-1, rank_});
      m.next_q = parcel.right.narrow(0, at_right, m.gradient.size(1) * rank_).view({-1, rank_});
      at += m.p.numel();
      at_right += m.next_q.numel();
    }
    for (Plain& plain : parcel.plain) {
      plain.sent = parcel.left.narrow(0, at, plain.gradient.numel());
      at += plain.sent.numel();
    }
  }

  void send(Parcel& parcel, const torch::Tensor& message, int64_t b) {
    if (message.numel() == 0) return;
    count(int64_t(message.nbytes()));
    parcel.work = context_.communicator.all_reduce(
        {message.data_ptr(), message.numel(), comm::DataType::float32}, comm::ReduceOp::sum,
        "PowerSGD gradient bucket " + std::to_string(b));
  }

  TrafficContext context_;
  int64_t rank_;
  torch::Tensor errors_;
  std::vector<Parcel> parcels_;
};

}  // namespace

MakeTraffic powersgd_traffic(int64_t rank) {
  return
      [rank](const TrafficContext& context) { return std::make_unique<PowerSgd>(context, rank); };
}

}  // namespace scorenet::reduce
