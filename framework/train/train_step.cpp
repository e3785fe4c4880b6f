#include "framework/train/train_step.hpp"

#include <cmath>

#include "framework/comm/fingerprint.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/pixels.hpp"
#include "framework/train/lr_schedule.hpp"

namespace scorenet::train {
namespace {

using comm::ControlField;

// example_loss, where wanted: every slot's, each filled by the rank that has it.
std::vector<ControlField> control_fields(int64_t global_batch, bool example_losses) {
  std::vector<ControlField> fields = {
      {"loss", ControlField::Kind::sum},         {"not_finite", ControlField::Kind::flag},
      {"stop", ControlField::Kind::flag},        {"quartile_loss", ControlField::Kind::sum, 4},
      {"data_wait", ControlField::Kind::sum},    {"quartile_count", ControlField::Kind::sum, 4},
      {"comm_exposed", ControlField::Kind::sum},
  };
  if (example_losses) fields.push_back({"example_loss", ControlField::Kind::sum, global_batch});
  return fields;
}

// With probability label_drop an example is trained without its label: index num_classes (Ho & Salimans 2022).
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

TrainStep::TrainStep(const ScoreModel& model, TrainState state, reduce::GradientReducer& reducer,
                     comm::Communicator& comm)
    : model_(model),
      state_(state),
      reducer_(reducer),
      comm_(comm),
      control_(control_fields(model.config.train.batch_size, state.objective.has_history()),
               comm.rank(), comm.size()) {}

TrainStep::Draw TrainStep::draw(const data::LoadedBatch& loaded, int64_t step) const {
  const config::Config& config = model_.config;
  Draw d;
  d.slots = slot_range(loaded.slots.begin, loaded.slots.size());
  d.indices = loaded.batch.indices;
  d.examples.x0 = in_model_range(loaded.batch.examples).to(model_.device, torch::kFloat32);
  d.examples.eps = normal_for_slots(key_at(config, RandomStream::training_noise, step), d.slots,
                                    d.examples.x0.sizes().slice(1), torch::kFloat32)
                       .to(model_.device);
  d.examples.probe = state_.objective.draw_probe(step, d.slots, d.examples.x0);
  d.examples.levels = state_.objective.draw_levels(step, d.slots);
  if (model_.classifier) {
    d.examples.labels = loaded.batch.labels;
  } else if (config.model.num_classes > 0) {
    d.examples.labels = drop_labels(loaded.batch.labels, config, d.slots, step);
  }
  return d;
}

void TrainStep::accumulate_gradients(const Draw& d, int64_t step) {
  const config::Config& config = model_.config;
  const auto local = static_cast<int64_t>(d.slots.size());
  const int64_t micro =
      config.train.micro_batch > 0 ? config.train.micro_batch : std::max<int64_t>(local, 1);
  if (local == 0) reducer_.begin(true);  // nothing to add; finish() sends the zeros
  for (int64_t first = 0; first < local; first += micro) {
    const int64_t count = std::min(micro, local - first);
    const auto part = [&](const torch::Tensor& t) {
      return t.defined() ? t.narrow(0, first, count) : t;
    };
    const models::BatchSlots slots{key_at(config, RandomStream::dropout, step),
                                   {d.slots.begin() + first, d.slots.begin() + first + count}};
    const NoisedExamples& e = d.examples;
    const torch::Tensor loss = state_.objective.loss_per_example(
        {part(e.x0), part(e.eps), part(e.probe), part(e.labels), e.levels.narrow(first, count)},
        config.model.dropout > 0 ? &slots : nullptr);
    reducer_.begin(first + count == local);
    (loss.sum() / static_cast<double>(config.train.batch_size)).backward();
    record(d, loss.detach().to(torch::kCPU), first);
  }
}

// Adds the losses (nats per dimension) of the examples from `first` on to the control vector.
void TrainStep::record(const Draw& d, const torch::Tensor& loss, int64_t first) {
  const diffusion::LogSnrRange range = diffusion::log_snr_range(*model_.schedule);
  const auto times = d.examples.levels.times.t.narrow(0, first, loss.size(0));
  const auto log_snr = model_.schedule->log_snr(times);
  for (int64_t i = 0; i < loss.size(0); ++i) {
    const double value = loss[i].item<double>();
    const double fraction = (range.clean - log_snr[i].item<double>()) / (range.clean - range.noisy);
    const auto quarter = static_cast<int64_t>(std::clamp(4 * fraction, 0.0, 3.0));
    if (!std::isfinite(value)) {
      control_.raise("not_finite");
      local_trouble_ += " sample " + std::to_string(d.indices[static_cast<size_t>(first + i)]) +
                        " at t = " + std::to_string(times[i].item<double>()) + ";";
      continue;
    }
    control_.add("loss", value);
    control_.add("quartile_loss", value, quarter);
    control_.add("quartile_count", 1, quarter);
    if (state_.objective.has_history())
      control_.add("example_loss", value, d.slots[static_cast<size_t>(first + i)]);
  }
}

StepReport TrainStep::run(const data::LoadedBatch& loaded, int64_t step, bool stop_wanted) {
  control_.clear();
  local_trouble_.clear();
  const Draw d = draw(loaded, step);

  reducer_.zero_gradients();
  accumulate_gradients(d, step);
  reducer_.finish();

  control_.add("data_wait", loaded.wait_seconds);
  control_.add("comm_exposed", reducer_.stats().exposed_seconds);
  if (stop_wanted) control_.raise("stop");
  control_.exchange(comm_).wait();

  const double norm = state_.optimizer.gradient_norm();
  StepReport report = report_of(step, norm);
  if (!report.skipped) {
    state_.optimizer.step(report.learning_rate, norm);
    state_.ema.update(state_.parameters.values(), {step, step * model_.config.train.batch_size,
                                                   model_.config.train.batch_size});
    observe_losses(step);
  }
  return report;
}

void TrainStep::observe_losses(int64_t step) {
  if (!state_.objective.has_history()) return;
  std::vector<double> losses;
  for (int64_t slot = 0; slot < model_.config.train.batch_size; ++slot)
    losses.push_back(control_.sum("example_loss", slot));
  state_.objective.observe(step, losses);
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
  r.learning_rate = learning_rate_at(
      {train.lr_schedule, train.learning_rate, train.warmup_steps, config::total_steps(train)},
      step);
  const auto bad_ranks = control_.raised_by("not_finite");
  r.skipped = !bad_ranks.empty() || !std::isfinite(norm);
  if (!bad_ranks.empty()) {
    // Every rank knows who it was, so all take part in asking that rank for its samples.
    const std::string samples =
        comm::broadcast_text(comm_, local_trouble_, bad_ranks[0], "samples of a non-finite loss");
    r.trouble = "the loss on rank " + std::to_string(bad_ranks[0]) + " is not finite:" + samples;
  } else if (r.skipped) {
    r.trouble = "the loss is finite on all ranks, but the reduced gradient is not;";
  }
  return r;
}

}  // namespace scorenet::train
