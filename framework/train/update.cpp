#include "framework/train/update.hpp"

namespace scorenet::train {

std::vector<optim::EmaProfile> ema_profiles_of(const config::EmaConfig& c) {
  std::vector<optim::EmaProfile> profiles;
  for (const double decay : c.decays)
    profiles.push_back({optim::EmaProfile::Kind::constant, decay, c.ramp_up});
  for (const double kimg : c.half_lives_kimg)
    profiles.push_back({optim::EmaProfile::Kind::half_life, 1000 * kimg, c.ramp_up});
  for (const double sigma_rel : c.powers)
    profiles.push_back({optim::EmaProfile::Kind::power, sigma_rel, 0});
  return profiles;
}

Update::Update(const config::Config& config, optim::FlatParameters& parameters,
               const GradientPlan& plan, comm::Communicators& comms)
    : micro_batch_(config.train.micro_batch),
      comms_(comms),
      sum_(make_gradient_sum(config, parameters, plan, comms)),
      optimizer_(sum_->target(), config.train.adamw),
      ema_(sum_->weights(), ema_profiles_of(config.ema)),
      loss_scale_(config.train.precision == "fp16"),
      scale_on_device_(loss_scale_, parameters.values().device()) {}

std::vector<Piece> Update::start(int64_t local) {
  sum_->reducer().zero_gradients();
  if (local == 0) sum_->reducer().begin(true);  // nothing to add; finish() sends the zeros
  return cut_share(local, sum_->stretches(), micro_batch_);
}

std::vector<Piece> Update::start_silent(int64_t local) {
  sum_->reducer().zero_gradients();
  sum_->reducer().begin(/*synchronise=*/false);
  return cut_share(local, sum_->stretches(), micro_batch_);
}

void Update::sum_on_device(bool started) {
  if (!started) sum_->reducer().begin(/*synchronise=*/true);
  sum_->finish_on_device();
}

torch::Tensor Update::norm_on_device() const {
  const torch::Tensor norm = optimizer_.gradient_norm_on_device();
  return scale_on_device_.adapts() ? norm / scale_on_device_.value() : norm;
}

void Update::step(optim::AdamW::DeviceStep step, const torch::Tensor& average_shares) {
  sum_->before_update();
  if (scale_on_device_.adapts()) step.gradient_scale = scale_on_device_.value().reciprocal();
  optimizer_.step(step);
  ema_.update(sum_->weights(), average_shares * step.apply);
}

void Update::begin(const Piece& piece) { sum_->begin(piece); }

void Update::end(const Piece& piece) { sum_->end(piece); }

double Update::finish() {
  sum_->finish();
  return sum_->whole_norm(optimizer_.gradient_norm(1 / loss_scale_.value()));
}

void Update::step(double learning_rate, double norm, const optim::EmaMoment& moment) {
  sum_->before_update();
  optimizer_.step(learning_rate, norm, 1 / loss_scale_.value());
  ema_.update(sum_->weights(), moment);
  sum_->after_update();
}

void Update::adapt_loss_scale(bool overflowed) {
  const double factor = loss_scale_.update(overflowed);
  if (factor == 1) return;
  // What compression has kept back of the gradients is of their old scale.
  for (reduce::TrafficState& state : sum_->reducer().traffic_state())
    if (state.kind == reduce::TrafficState::Kind::summed) state.values.mul_(factor);
}

void Update::adapt_loss_scale_on_device(const torch::Tensor& not_finite) {
  if (scale_on_device_.adapts()) scale_on_device_.update(not_finite);
}

void Update::take_loss_scale() {
  if (scale_on_device_.adapts()) scale_on_device_.take(loss_scale_);
}

bool Update::wants_new_order() {
  // A step or two may be chance: threads that finish in another order.
  constexpr int kPatience = 10;
  out_of_order_ = sum_->reducer().stats().overtaken > 0 ? out_of_order_ + 1 : 0;
  return comms_.host->rank() == 0 && out_of_order_ >= kPatience;
}

void Update::observe_order_again() {
  out_of_order_ = 0;
  sum_->reducer().reobserve();
}

torch::Tensor Update::average(size_t i) const { return sum_->whole(ema_.averages()[i], "average"); }

StateBuffer::Kind Update::kind_of_moments() const {
  return sum_->is_sharded() ? StateBuffer::Kind::sharded : StateBuffer::Kind::replicated;
}

std::vector<StateBuffer> Update::buffers() const {
  const auto kind = kind_of_moments();
  std::vector<StateBuffer> all;
  for (const auto& [name, tensor] : optimizer_.state()) {
    if (tensor.dim() == 1) all.push_back({"optimizer.safetensors", name + ".", tensor, kind});
  }
  for (size_t i = 0; i < ema_.profiles().size(); ++i) {
    all.push_back(
        {"ema.safetensors", optim::ema_name(ema_.profiles()[i]) + ".", ema_.averages()[i], kind});
  }
  for (const reduce::TrafficState& state : sum_->reducer().traffic_state()) {
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
  for (const reduce::TrafficState& state : sum_->reducer().traffic_state()) {
    if (state.kind == reduce::TrafficState::Kind::equal)
      all.push_back({"compression.safetensors", state.name, state.values, true});
  }
  return all;
}

torch::Tensor Update::whole(const StateBuffer& buffer) const {
  switch (buffer.kind) {
    case StateBuffer::Kind::replicated:
      break;
    case StateBuffer::Kind::sharded:
      return sum_->whole(buffer.values, buffer.prefix);
    case StateBuffer::Kind::summed: {
      torch::Tensor whole = buffer.values.clone();
      comms_.bulk().all_reduce_now({whole.data_ptr(), whole.numel(), comm::DataType::float32},
                                   comm::ReduceOp::sum, buffer.prefix);
      return whole;
    }
  }
  return buffer.values;
}

void Update::keep(const StateBuffer& buffer, const torch::Tensor& whole) const {
  if (buffer.kind == StateBuffer::Kind::sharded) sum_->keep(buffer.values, whole);
  // Whatever the ranks' shares of a sum were, equal ones have the same sum.
  if (buffer.kind == StateBuffer::Kind::summed)
    buffer.values.copy_(whole / static_cast<double>(comms_.host->size()));
}

}  // namespace scorenet::train
