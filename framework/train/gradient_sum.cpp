#include "framework/train/gradient_sum.hpp"

#include <ATen/Context.h>

#include <algorithm>
#include <cmath>

#include "framework/reduce/bf16_traffic.hpp"
#include "framework/reduce/canonical_sum.hpp"
#include "framework/reduce/powersgd_traffic.hpp"
#include "framework/reduce/shards.hpp"

namespace scorenet::train {
namespace {

// What all siblings are made of.
struct Parts {
  const config::CommConfig& config;
  optim::FlatParameters& parameters;
  const GradientPlan& plan;
  comm::Communicators& comms;
};

// A GPU's copy engines work beside its kernels; whether a core of the host has time to
// spare is measured.
reduce::Overlap overlap_of(const config::CommConfig& c, const comm::Communicators& comms) {
  if (c.overlap == "auto") return comms.device ? reduce::Overlap::on : reduce::Overlap::measured;
  return c.overlap == "on" ? reduce::Overlap::on : reduce::Overlap::off;
}

reduce::ReducerOptions reducer_options(const Parts& parts) {
  reduce::ReducerOptions options;
  options.buckets = parts.plan.buckets;
  options.allow_unused = parts.config.allow_unused;
  options.names = parts.parameters.names();
  options.overlap = overlap_of(parts.config, parts.comms);
  options.host = parts.comms.host.get();
  return options;
}

reduce::GradientReducer make_reducer(const Parts& parts, reduce::ReducerOptions options) {
  return {parts.parameters.parameters(), parts.parameters.gradients(), parts.parameters.layout(),
          parts.comms.bulk(), std::move(options)};
}

reduce::ReducerOptions compressed(const Parts& parts) {
  reduce::ReducerOptions options = reducer_options(parts);
  const config::CommConfig& c = parts.config;
  if (c.compression == "bf16") options.traffic = reduce::bf16_traffic();
  if (c.compression == "powersgd") options.traffic = reduce::powersgd_traffic(c.powersgd_rank);
  return options;
}

// A sum after which every rank has the whole gradient and updates all weights.
class WholeSum : public GradientSum {
 public:
  WholeSum(const Parts& parts, reduce::ReducerOptions options)
      : parameters_(parts.parameters), reducer_(make_reducer(parts, std::move(options))) {}

  optim::AdamWTarget target() const override { return optim::whole_target(parameters_); }
  torch::Tensor weights() const override { return parameters_.values(); }
  reduce::GradientReducer& reducer() override { return reducer_; }

 private:
  optim::FlatParameters& parameters_;
  reduce::GradientReducer reducer_;
};

class AllReducedSum : public WholeSum {
 public:
  explicit AllReducedSum(const Parts& parts)
      : WholeSum(parts, compressed(parts)), plain_(parts.config.compression == "none") {}

  bool runs_on_device() const override { return plain_; }

 private:
  bool plain_;
};

// Each virtual shard's gradients are added up alone, then all shards' by one tree, whoever computed
// them.
class CanonicalSum : public WholeSum {
 public:
  explicit CanonicalSum(const Parts& parts)
      : WholeSum(parts, reducer_options(parts)),
        tree_(parts.parameters.gradients(), parts.comms.bulk(), parts.config.virtual_shards) {
    // On a GPU: no kernels that sum in whatever order their threads come, and no search among them,
    // which may end differently in every process.
    at::globalContext().setDeterministicCuDNN(true);
    at::globalContext().setBenchmarkCuDNN(false);
  }

  int64_t stretches() const override { return tree_.shards(); }
  void begin(const Piece& piece) override {
    if (piece.starts_sum) reducer().zero_gradients();
    reducer().begin(false);
  }
  void end(const Piece& piece) override {
    if (piece.ends_sum) tree_.add_shard();
  }
  void finish() override { tree_.finish(); }

 private:
  reduce::CanonicalSum tree_;
};

reduce::Shards make_shards(const Parts& parts) {
  std::vector<reduce::Segment> segments;
  for (const reduce::Bucket& bucket : parts.plan.buckets)
    segments.push_back({bucket.offset, bucket.count});
  return {segments, parts.comms.bulk()};
}

torch::Tensor part_of(const reduce::Shards& shards, const torch::Tensor& whole) {
  const torch::Tensor part = torch::empty({shards.count()}, whole.options());
  shards.take(whole, part);
  return part;
}

// The stretches of this rank's part that belong to parameters that decay.
std::vector<torch::Tensor> decayed_in_part(const optim::FlatParameters& parameters,
                                           const reduce::Shards& shards,
                                           const torch::Tensor& part) {
  std::vector<torch::Tensor> decayed;
  for (size_t i = 0; i < parameters.parameters().size(); ++i) {
    if (!optim::decays(parameters.parameters()[i])) continue;
    const auto& layout = parameters.layout();
    for (const auto& piece : reduce::within(shards.owned(), {layout.offsets[i], layout.sizes[i]}))
      decayed.push_back(part.narrow(0, piece.part_offset, piece.count));
  }
  return decayed;
}

class ShardedSum : public GradientSum {
 public:
  explicit ShardedSum(const Parts& parts)
      : parameters_(parts.parameters),
        host_(*parts.comms.host),
        shards_(make_shards(parts)),
        part_(part_of(shards_, parts.parameters.values())),
        part_gradient_(part_of(shards_, parts.parameters.gradients())),
        reducer_(make_reducer(parts, scattered(parts))) {}

  double whole_norm(double own) const override {
    double square = std::pow(own, 2);
    host_.all_reduce({&square, 1, comm::DataType::float64}, comm::ReduceOp::sum, "gradient norm")
        .wait();
    return std::sqrt(square);
  }
  optim::AdamWTarget target() const override {
    return {part_, part_gradient_, decayed_in_part(parameters_, shards_, part_)};
  }
  torch::Tensor weights() const override { return part_; }
  // The weights may have been restored, or put back after an evaluation.
  void before_update() override { shards_.take(parameters_.values(), part_); }
  void after_update() override { shards_.gather(part_, parameters_.values(), kUpdated); }
  bool runs_on_device() const override { return true; }
  void after_update_on_device() override {
    wait_for_weights();  // those of the step before
    gathered_ = shards_.start_gather(part_, parameters_.values(), kUpdated);
    for (comm::Work& work : gathered_) work.join();
  }
  void settle() override {
    GradientSum::settle();
    wait_for_weights();
  }

  bool is_sharded() const override { return true; }
  std::vector<reduce::OwnedRange> owned() const override { return shards_.owned(); }
  torch::Tensor whole(const torch::Tensor& own, const std::string& tag) const override {
    torch::Tensor whole = torch::zeros_like(parameters_.values());
    shards_.gather(own, whole, tag);
    return whole;
  }
  void keep(const torch::Tensor& own, const torch::Tensor& whole) const override {
    shards_.take(whole, own);
  }
  reduce::GradientReducer& reducer() override { return reducer_; }

 private:
  static constexpr const char* kUpdated = "updated weights";

  void wait_for_weights() {
    for (comm::Work& work : gathered_) work.wait();
    gathered_.clear();
  }

  reduce::ReducerOptions scattered(const Parts& parts) const {
    reduce::ReducerOptions options = reducer_options(parts);
    options.traffic = reduce::scatter_traffic(shards_, part_gradient_);
    return options;
  }

  optim::FlatParameters& parameters_;
  comm::Communicator& host_;
  reduce::Shards shards_;
  torch::Tensor part_, part_gradient_;  // this rank's
  reduce::GradientReducer reducer_;
  std::vector<comm::Work> gathered_;  // under way on the device
};

}  // namespace

std::vector<Piece> cut_share(int64_t local, int64_t sums, int64_t micro) {
  std::vector<Piece> pieces;
  const int64_t stretch = local / sums;
  for (int64_t begin = 0; begin < local; begin += stretch) {
    const int64_t most = micro > 0 ? micro : stretch;
    for (int64_t first = begin; first < begin + stretch; first += most) {
      const int64_t count = std::min(most, begin + stretch - first);
      pieces.push_back({first, count, first == begin, first + count == begin + stretch});
    }
  }
  return pieces;
}

std::unique_ptr<GradientSum> make_gradient_sum(const config::Config& config,
                                               optim::FlatParameters& parameters,
                                               const GradientPlan& plan,
                                               comm::Communicators& comms) {
  const Parts parts{config.comm, parameters, plan, comms};
  if (config.comm.canonical) return std::make_unique<CanonicalSum>(parts);
  if (config.train.shard_optimizer && comms.bulk().size() > 1)
    return std::make_unique<ShardedSum>(parts);
  return std::make_unique<AllReducedSum>(parts);
}

}  // namespace scorenet::train
