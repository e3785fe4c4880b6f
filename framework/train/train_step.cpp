#include "framework/train/train_step.hpp"

#include <cmath>
#include <cstdio>

#include "framework/comm/fingerprint.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/pixels.hpp"
#include "framework/optim/lr_schedule.hpp"

namespace scorenet::train {
namespace {

using comm::ControlField;

// example_loss, where wanted: every slot's, each filled by the rank that has it.
std::vector<ControlField> control_fields(int64_t global_batch, bool example_losses) {
  std::vector<ControlField> fields = {
      {"loss", ControlField::Kind::sum},         {"not_finite", ControlField::Kind::flag},
      {"stop", ControlField::Kind::flag},        {"quartile_loss", ControlField::Kind::sum, 4},
      {"data_wait", ControlField::Kind::sum},    {"quartile_count", ControlField::Kind::sum, 4},
      {"comm_exposed", ControlField::Kind::sum}, {"reorder", ControlField::Kind::flag},
  };
  if (example_losses) fields.push_back({"example_loss", ControlField::Kind::sum, global_batch});
  return fields;
}

// With probability label_drop an example is trained without its label: index num_classes
// (Ho & Salimans 2022).
torch::Tensor drop_labels(const torch::Tensor& labels, const config::Config& config,
                          const std::vector<int64_t>& slots, int64_t step) {
  const auto u =
      uniform_for_slots(key_at(config, RandomStream::label_drop, step), slots, {}, torch::kFloat32);
  return torch::where(u < config.diffusion.label_drop,
                      torch::full_like(labels, config.model.num_classes), labels);
}

}  // namespace

// This rank's share of a step.
struct TrainStep::Draw {
  NoisedExamples examples;
  std::vector<int64_t> slots;
  std::vector<int64_t> indices;
};

TrainStep::TrainStep(const score::ScoreModel& model, Objective& objective, Update& update,
                     comm::Communicator& comm)
    : model_(model),
      objective_(objective),
      update_(update),
      comm_(comm),
      control_(control_fields(model.config.train.batch_size, objective.has_history()), comm.rank(),
               comm.size()),
      clock_(model.config.run.timeline) {}

TrainStep::Draw TrainStep::draw(const data::LoadedBatch& loaded, int64_t step) const {
  const config::Config& config = model_.config;
  Draw d;
  d.slots = slot_range(loaded.slots.begin, loaded.slots.size());
  d.indices = loaded.batch.indices;
  d.examples.x0 = in_model_range(loaded.batch.examples.to(model_.device)).to(torch::kFloat32);
  d.examples.eps = normal_for_slots(key_at(config, RandomStream::training_noise, step), d.slots,
                                    d.examples.x0.sizes().slice(1), torch::kFloat32, model_.device);
  d.examples.probe = objective_.draw_probe(step, d.slots, d.examples.x0);
  d.examples.levels = objective_.draw_levels(step, d.slots);
  if (model_.is_classifier()) {
    d.examples.labels = loaded.batch.labels;
  } else if (config.model.num_classes > 0) {
    d.examples.labels = drop_labels(loaded.batch.labels, config, d.slots, step);
  }
  return d;
}

void TrainStep::accumulate_gradients(const Draw& d, int64_t step) {
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
        objective_.loss_per_example({part(e.x0), part(e.eps), part(e.probe), part(e.labels),
                                     e.levels.narrow(piece.first, piece.count)},
                                    config.model.dropout > 0 ? &slots : nullptr);
    clock_.enter(StepPhase::backward);
    update_.begin(piece);
    const double weight =
        update_.loss_scale().value() / static_cast<double>(config.train.batch_size);
    (loss.sum() * weight).backward();
    update_.end(piece);
    clock_.enter(StepPhase::host);
    record(d, loss.detach().to(torch::kCPU), piece.first);
  }
}

// Adds the losses (nats per dimension) of the examples from `first` on to the control vector.
// Through plain arrays: taken from tensors one by one, a batch of 512 costs as much as a small
// network's forward pass.
void TrainStep::record(const Draw& d, const torch::Tensor& loss, int64_t first) {
  const diffusion::LogSnrRange range = diffusion::log_snr_range(*model_.schedule);
  const auto times = d.examples.levels.times.t.narrow(0, first, loss.size(0));
  const auto levels = model_.schedule->log_snr(times).contiguous();
  const double* const losses = loss.const_data_ptr<double>();
  const double* const log_snr = levels.const_data_ptr<double>();
  double sums[4] = {}, counts[4] = {};
  for (int64_t i = 0; i < loss.size(0); ++i) {
    if (!std::isfinite(losses[i])) {
      control_.raise("not_finite");
      local_trouble_ += " sample " + std::to_string(d.indices[static_cast<size_t>(first + i)]) +
                        " at t = " + std::to_string(times[i].item<double>()) + ";";
      continue;
    }
    const double fraction = (range.clean - log_snr[i]) / (range.clean - range.noisy);
    const auto quarter = static_cast<int64_t>(std::clamp(4 * fraction, 0.0, 3.0));
    sums[quarter] += losses[i];
    counts[quarter] += 1;
    if (objective_.has_history())
      control_.add("example_loss", losses[i], d.slots[static_cast<size_t>(first + i)]);
  }
  for (int64_t quarter = 0; quarter < 4; ++quarter) {
    control_.add("loss", sums[quarter]);
    control_.add("quartile_loss", sums[quarter], quarter);
    control_.add("quartile_count", counts[quarter], quarter);
  }
}

StepReport TrainStep::run(const data::LoadedBatch& loaded, int64_t step, bool stop_wanted) {
  control_.clear();
  local_trouble_.clear();
  clock_.begin_step(loaded.wait_seconds);
  const Draw d = draw(loaded, step);

  accumulate_gradients(d, step);
  clock_.enter(StepPhase::communication);
  const double norm = update_.finish();

  control_.add("data_wait", loaded.wait_seconds);
  control_.add("comm_exposed", update_.traffic().exposed_seconds);
  if (stop_wanted) control_.raise("stop");
  if (update_.wants_new_order()) control_.raise("reorder");
  control_.exchange(comm_).wait();
  clock_.enter(StepPhase::host);
  if (control_.any("reorder")) update_.observe_order_again();

  StepReport report = report_of(step, norm);
  if (!report.skipped) {
    const int64_t batch = model_.config.train.batch_size;
    update_.step(report.learning_rate, norm, {step, step * batch, batch});
    observe_losses(step);
  }
  update_.adapt_loss_scale(report.overflow);
  clock_.end_step(update_.traffic());
  return report;
}

void TrainStep::observe_losses(int64_t step) {
  if (!objective_.has_history()) return;
  std::vector<double> losses;
  for (int64_t slot = 0; slot < model_.config.train.batch_size; ++slot)
    losses.push_back(control_.sum("example_loss", slot));
  objective_.observe(step, losses);
}

StepReport TrainStep::report_of(int64_t step, double norm) {
  const config::TrainConfig& train = model_.config.train;
  StepReport r;
  r.grad_norm = norm;
  r.loss = control_.sum("loss") / static_cast<double>(train.batch_size);
  for (int q = 0; q < 4; ++q) {
    r.quartile_loss[q] = control_.sum("quartile_loss", q);
    r.quartile_count[q] = control_.sum("quartile_count", q);
  }
  r.data_wait_seconds = control_.sum("data_wait") / comm_.size();
  r.comm_exposed_seconds = control_.sum("comm_exposed") / comm_.size();
  r.stop = control_.any("stop");
  r.learning_rate = optim::learning_rate_at(
      {train.lr_schedule, train.learning_rate, train.warmup_steps, config::total_steps(train)},
      step);
  const auto bad_ranks = control_.raised_by("not_finite");
  r.skipped = !bad_ranks.empty() || !std::isfinite(norm);
  if (!bad_ranks.empty()) {
    // Every rank knows who it was, so all take part in asking that rank for its samples.
    const std::string samples =
        comm::broadcast_text(comm_, local_trouble_, bad_ranks[0], "samples of a non-finite loss");
    r.trouble = "the loss on rank " + std::to_string(bad_ranks[0]) + " is not finite:" + samples;
  } else if (r.skipped && update_.loss_scale().can_fall()) {
    r.overflow = true;
    char text[128];
    std::snprintf(text, sizeof text,
                  "gradients overflow float16 at a loss scale of %g, which is halved (normal while "
                  "it adapts);",
                  update_.loss_scale().value());
    r.trouble = text;
  } else if (r.skipped) {
    r.trouble = "the loss is finite on all ranks, but the reduced gradient is not;";
  }
  return r;
}

}  // namespace scorenet::train
