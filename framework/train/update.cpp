#include "framework/train/update.hpp"

#include <ATen/Context.h>

#include <algorithm>
#include <cmath>

#include "framework/reduce/bf16_traffic.hpp"
#include "framework/reduce/powersgd_traffic.hpp"

namespace scorenet::train {
namespace {

AdamWOptions adamw_options(const config::TrainConfig& c) {
  return {c.beta1, c.beta2, c.adam_eps, c.weight_decay, c.clip_norm};
}

std::unique_ptr<reduce::Shards> make_shards(const config::Config& config, const GradientPlan& plan,
                                            comm::Communicator& bulk) {
  if (!config.train.shard_optimizer || bulk.size() == 1) return nullptr;
  std::vector<reduce::Segment> segments;
  for (const reduce::Bucket& bucket : plan.buckets)
    segments.push_back({bucket.offset, bucket.count});
  return std::make_unique<reduce::Shards>(segments, bulk);
}

torch::Tensor part_of(const reduce::Shards* shards, const torch::Tensor& whole) {
  if (!shards) return {};
  const torch::Tensor part = torch::empty({shards->count()}, whole.options());
  shards->take(whole, part);
  return part;
}

/// A GPU's copy engines work beside its kernels; whether a core of the host has time to spare is measured.
reduce::Overlap overlap_of(const config::CommConfig& c, const comm::Communicators& comms) {
  if (c.overlap == "auto") return comms.device ? reduce::Overlap::on : reduce::Overlap::measured;
  return c.overlap == "on" ? reduce::Overlap::on : reduce::Overlap::off;
}

reduce::ReducerOptions reducer_options(const config::CommConfig& c, const GradientPlan& plan,
                                       comm::Communicators& comms,
                                       const std::vector<std::string>& names,
                                       const reduce::Shards* shards,
                                       const torch::Tensor& part_gradient) {
  reduce::ReducerOptions options;
  options.buckets = plan.buckets;
  options.allow_unused = c.allow_unused;
  options.names = names;
  options.overlap = overlap_of(c, comms);
  options.host = comms.host.get();
  if (c.compression == "bf16") options.traffic = reduce::bf16_traffic();
  if (c.compression == "powersgd") options.traffic = reduce::powersgd_traffic(c.powersgd_rank);
  if (shards) options.traffic = reduce::scatter_traffic(*shards, part_gradient);
  return options;
}

/// The stretches of this rank's part that belong to parameters that decay.
std::vector<torch::Tensor> decayed_in_part(const FlatParameters& parameters,
                                           const reduce::Shards& shards,
                                           const torch::Tensor& part) {
  std::vector<torch::Tensor> decayed;
  for (size_t i = 0; i < parameters.parameters().size(); ++i) {
    if (!decays(parameters.parameters()[i])) continue;
    const int64_t begin = parameters.layout().offsets[i];
    const int64_t end = begin + parameters.layout().sizes[i];
    for (const reduce::OwnedRange& range : shards.owned()) {
      const int64_t first = std::max(begin, range.offset);
      const int64_t last = std::min(end, range.offset + range.count);
      if (first < last)
        decayed.push_back(part.narrow(0, range.part_offset + first - range.offset, last - first));
    }
  }
  return decayed;
}

std::unique_ptr<reduce::CanonicalSum> make_canonical(const config::CommConfig& c,
                                                     const FlatParameters& parameters,
                                                     comm::Communicators& comms) {
  if (!c.canonical) return nullptr;
  // On a GPU: no kernels that sum in whatever order their threads come.
  at::globalContext().setDeterministicCuDNN(true);
  return std::make_unique<reduce::CanonicalSum>(parameters.gradients(), comms.bulk(),
                                                c.virtual_shards);
}

}  // namespace

std::vector<EmaProfile> ema_profiles_of(const config::EmaConfig& c) {
  std::vector<EmaProfile> profiles;
  for (const double decay : c.decays)
    profiles.push_back({EmaProfile::Kind::constant, decay, c.ramp_up});
  for (const double kimg : c.half_lives_kimg)
    profiles.push_back({EmaProfile::Kind::half_life, 1000 * kimg, c.ramp_up});
  for (const double sigma_rel : c.powers)
    profiles.push_back({EmaProfile::Kind::power, sigma_rel, 0});
  return profiles;
}

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

Update::Update(const config::Config& config, FlatParameters& parameters, const GradientPlan& plan,
               comm::Communicators& comms)
    : config_(config),
      parameters_(parameters),
      comms_(comms),
      shards_(make_shards(config, plan, comms.bulk())),
      part_(part_of(shards_.get(), parameters.values())),
      part_gradient_(part_of(shards_.get(), parameters.gradients())),
      canonical_(make_canonical(config.comm, parameters, comms)),
      reducer_(parameters.parameters(), parameters.gradients(), parameters.layout(), comms.bulk(),
               reducer_options(config.comm, plan, comms, parameters.names(), shards_.get(),
                               part_gradient_)),
      optimizer_(target(), adamw_options(config.train)),
      ema_(shards_ ? part_ : parameters.values(), ema_profiles_of(config.ema)),
      loss_scale_(config.train.precision == "fp16") {}

AdamWTarget Update::target() const {
  if (!shards_) return whole_target(parameters_);
  return {part_, part_gradient_, decayed_in_part(parameters_, *shards_, part_)};
}

std::vector<Piece> Update::start(int64_t local) {
  reducer_.zero_gradients();
  if (local == 0) reducer_.begin(true);  // nothing to add; finish() sends the zeros
  return cut_share(local, canonical_ ? canonical_->shards() : 1, config_.train.micro_batch);
}

void Update::begin(const Piece& piece) {
  if (canonical_) {
    if (piece.starts_sum) reducer_.zero_gradients();
    reducer_.begin(false);
  } else {
    reducer_.begin(piece.ends_sum);
  }
}

void Update::end(const Piece& piece) {
  if (canonical_ && piece.ends_sum) canonical_->add_shard();
}

double Update::finish() {
  if (canonical_) {
    canonical_->finish();
  } else {
    reducer_.finish();
  }
  const double norm = optimizer_.gradient_norm(1 / loss_scale_.value());
  if (!shards_) return norm;
  double square = std::pow(norm, 2);
  comms_.host
      ->all_reduce({&square, 1, comm::DataType::float64}, comm::ReduceOp::sum, "gradient norm")
      .wait();
  return std::sqrt(square);
}

void Update::step(double learning_rate, double norm, const EmaMoment& moment) {
  if (shards_)
    shards_->take(parameters_.values(), part_);  // restored, or put back after an evaluation
  optimizer_.step(learning_rate, norm, 1 / loss_scale_.value());
  ema_.update(shards_ ? part_ : parameters_.values(), moment);
  if (shards_) shards_->gather(part_, parameters_.values(), "updated weights");
}

void Update::adapt_loss_scale(bool overflowed) {
  const double factor = loss_scale_.update(overflowed);
  if (factor == 1) return;
  // What compression has kept back of the gradients is of their old scale.
  for (reduce::TrafficState& state : reducer_.traffic_state())
    if (state.kind == reduce::TrafficState::Kind::summed) state.values.mul_(factor);
}

bool Update::wants_new_order() {
  // A step or two may be chance: threads that finish in another order.
  constexpr int kPatience = 10;
  out_of_order_ = reducer_.stats().overtaken > 0 ? out_of_order_ + 1 : 0;
  return comms_.host->rank() == 0 && out_of_order_ >= kPatience;
}

void Update::observe_order_again() {
  out_of_order_ = 0;
  reducer_.reobserve();
}

torch::Tensor Update::average(size_t i) const {
  return whole({"", "", ema_.averages()[i],
                shards_ ? StateBuffer::Kind::sharded : StateBuffer::Kind::replicated});
}

std::vector<StateBuffer> Update::buffers() const {
  const auto kind = shards_ ? StateBuffer::Kind::sharded : StateBuffer::Kind::replicated;
  std::vector<StateBuffer> all;
  for (const auto& [name, tensor] : optimizer_.state()) {
    if (tensor.dim() == 1) all.push_back({"optimizer.safetensors", name + ".", tensor, kind});
  }
  for (size_t i = 0; i < ema_.profiles().size(); ++i) {
    all.push_back(
        {"ema.safetensors", ema_name(ema_.profiles()[i]) + ".", ema_.averages()[i], kind});
  }
  for (const reduce::TrafficState& state : reducer_.traffic_state()) {
    if (state.kind == reduce::TrafficState::Kind::summed) {
      all.push_back({"compression.safetensors", state.name + ".", state.values,
                     StateBuffer::Kind::summed, true});
    }
  }
  return all;
}

std::vector<StateTensor> Update::tensors() const {
  std::vector<StateTensor> all;
  if (loss_scale_.adapts())
    all.push_back({"optimizer.safetensors", "loss_scale", loss_scale_.state(), true});
  for (const auto& [name, tensor] : optimizer_.state()) {
    if (tensor.dim() == 0) all.push_back({"optimizer.safetensors", name, tensor});
  }
  for (const reduce::TrafficState& state : reducer_.traffic_state()) {
    if (state.kind == reduce::TrafficState::Kind::equal)
      all.push_back({"compression.safetensors", state.name, state.values, true});
  }
  return all;
}

torch::Tensor Update::whole(const StateBuffer& buffer) const {
  if (buffer.kind == StateBuffer::Kind::replicated) return buffer.values;
  torch::Tensor whole = torch::zeros_like(parameters_.values());
  if (buffer.kind == StateBuffer::Kind::sharded) {
    shards_->gather(buffer.values, whole, buffer.prefix);
  } else {
    whole.copy_(buffer.values);
    comms_.bulk().all_reduce_now({whole.data_ptr(), whole.numel(), comm::DataType::float32},
                                 comm::ReduceOp::sum, buffer.prefix);
  }
  return whole;
}

void Update::keep(const StateBuffer& buffer, const torch::Tensor& whole) const {
  if (buffer.kind == StateBuffer::Kind::sharded) shards_->take(whole, buffer.values);
  // Whatever the ranks' shares of a sum were, equal ones have the same sum.
  if (buffer.kind == StateBuffer::Kind::summed)
    buffer.values.copy_(whole / static_cast<double>(comms_.host->size()));
}

}  // namespace scorenet::train
