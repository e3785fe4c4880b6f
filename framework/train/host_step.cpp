#include "framework/train/host_step.hpp"

#include <cmath>

#include "framework/core/pixels.hpp"
#include "framework/train/step_control.hpp"
#include "models/score_network.hpp"

namespace scorenet::train {

// This rank's share of a step.
struct HostStep::Draw {
  NoisedExamples examples;
  std::vector<int64_t> slots;
  std::vector<int64_t> indices;
};

HostStep::Draw HostStep::draw(const data::LoadedBatch& loaded, int64_t step) const {
  const config::Config& config = model_.config;
  Draw d;
  d.slots = slot_range(loaded.slots.begin, loaded.slots.size());
  d.indices = loaded.batch.indices;
  d.examples.x0 = in_model_range(loaded.batch.examples.to(model_.device), objective_.levels())
                      .to(torch::kFloat32);
  d.examples.eps = normal_for_slots(key_at(config, RandomStream::training_noise, step), d.slots,
                                    d.examples.x0.sizes().slice(1), torch::kFloat32, model_.device);
  if (const torch::Tensor& observed = loaded.batch.observed; observed.defined()) {
    d.examples.observed = observed.to(model_.device, torch::kFloat32);
    d.examples.eps = d.examples.eps * d.examples.observed;
  }
  d.examples.probe = objective_.draw_probe(step, d.slots, d.examples.x0);
  d.examples.levels = objective_.draw_levels(step, d.slots);
  d.examples.given = conditions_of_step(model_, loaded, d.slots, step);
  return d;
}

void HostStep::accumulate_gradients(const Draw& d, int64_t step) {
  const config::Config& config = model_.config;
  for (const Piece& piece : update_.start(static_cast<int64_t>(d.slots.size()))) {
    const auto part = [&](const torch::Tensor& t) {
      return t.defined() ? t.narrow(0, piece.first, piece.count) : t;
    };
    clock_.enter(StepPhase::forward);
    const auto begin = d.slots.begin() + piece.first;
    const models::BatchSlots slots{key_at(config, RandomStream::dropout, step),
                                   {begin, begin + piece.count}};
    const NoisedExamples& e = d.examples;
    const torch::Tensor loss =
        objective_.loss_per_example({part(e.x0), part(e.eps), part(e.probe), e.given.mapped(part),
                                     e.levels.narrow(piece.first, piece.count), part(e.observed)},
                                    config.model.dropout > 0 ? &slots : nullptr);
    clock_.enter(StepPhase::backward);
    update_.begin(piece);
    const double weight = update_.loss_scale().value() * loss_weight(config.train);
    (loss.sum() * weight).backward();
    update_.end(piece);
    clock_.enter(StepPhase::other);
    record(d, loss.detach().to(torch::kCPU), piece.first);
  }
}

// Adds the losses (nats per dimension) of the examples from `first` on to the control vector.
// Through plain arrays: taken from tensors one by one, a batch of 512 costs as much as a small
// network's forward pass.
void HostStep::record(const Draw& d, const torch::Tensor& loss, int64_t first) {
  const auto times = d.examples.levels.times.t.narrow(0, first, loss.size(0));
  const auto bins = level_bins_of(*model_.schedule, times);
  const double* const losses = loss.const_data_ptr<double>();
  const int64_t* const bin = bins.const_data_ptr<int64_t>();
  double sums[kLevelBins] = {}, counts[kLevelBins] = {};
  local_losses_.insert(local_losses_.end(), losses, losses + loss.size(0));
  for (int64_t i = 0; i < loss.size(0); ++i) {
    if (!std::isfinite(losses[i])) {
      control_.raise("not_finite");
      continue;
    }
    sums[bin[i]] += losses[i];
    counts[bin[i]] += 1;
    if (objective_.has_history())
      control_.add("example_loss", losses[i], d.slots[static_cast<size_t>(first + i)]);
  }
  const auto begin = d.indices.begin() + first;
  local_trouble_ += trouble_of(loss, {begin, begin + loss.size(0)}, times);
  for (int64_t b = 0; b < kLevelBins; ++b) {
    control_.add("loss", sums[b]);
    control_.add("level_loss", sums[b], b);
    control_.add("level_count", counts[b], b);
  }
}

std::optional<StepReport> HostStep::run(const data::LoadedBatch& loaded, int64_t step,
                                        const Wishes& wishes) {
  control_.clear();
  local_trouble_.clear();
  local_losses_.clear();
  clock_.begin_step(loaded.wait_seconds);
  const Draw d = draw(loaded, step);

  accumulate_gradients(d, step);
  clock_.enter(StepPhase::communication);
  const double norm = update_.finish();

  control_.add("data_wait", loaded.wait_seconds);
  control_.add("comm_exposed", update_.traffic().exposed_seconds);
  raise_wishes(control_, wishes);
  if (update_.wants_new_order()) control_.raise("reorder");
  control_.exchange(*comms_.host).wait();
  clock_.enter(StepPhase::other);
  if (control_.any("reorder")) update_.observe_order_again();

  const StepReport report = report_of(
      control_, model_.config.train, step, norm, update_.loss_scale(),
      {local_trouble_, local_losses_, d.indices, d.examples.levels.times.t}, spikes_, *comms_.host);
  if (!report.skipped) {
    const int64_t batch = model_.config.train.batch_size;
    clock_.enter(StepPhase::update);
    update_.step(report.learning_rate, norm, {step, step * batch, batch});
    clock_.enter(StepPhase::other);
    observe_losses(step);
  }
  update_.adapt_loss_scale(report.overflow);
  clock_.end_step(update_.traffic());
  return report;
}

void HostStep::observe_losses(int64_t step) {
  if (!objective_.has_history()) return;
  std::vector<double> losses;
  for (int64_t slot = 0; slot < model_.config.train.batch_size; ++slot)
    losses.push_back(control_.sum("example_loss", slot));
  objective_.observe(step, losses);
}

}  // namespace scorenet::train
