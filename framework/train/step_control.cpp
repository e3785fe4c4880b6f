#include "framework/train/step_control.hpp"

#include <cmath>
#include <cstdio>

#include "framework/comm/fingerprint.hpp"
#include "framework/config/validate.hpp"
#include "framework/optim/lr_schedule.hpp"

namespace scorenet::train {

using comm::ControlField;

std::vector<ControlField> step_control_fields(int64_t global_batch, bool example_losses) {
  std::vector<ControlField> fields = {
      {"loss", ControlField::Kind::sum},         {"not_finite", ControlField::Kind::flag},
      {"stop", ControlField::Kind::flag},        {"quartile_loss", ControlField::Kind::sum, 4},
      {"data_wait", ControlField::Kind::sum},    {"quartile_count", ControlField::Kind::sum, 4},
      {"comm_exposed", ControlField::Kind::sum}, {"reorder", ControlField::Kind::flag},
  };
  if (example_losses) fields.push_back({"example_loss", ControlField::Kind::sum, global_batch});
  return fields;
}

torch::Tensor quarters_of(const diffusion::Schedule& schedule, const torch::Tensor& times) {
  const torch::NoGradGuard no_grad;
  const diffusion::LogSnrRange range = diffusion::log_snr_range(schedule);
  const auto fraction = (range.clean - schedule.log_snr(times)) / (range.clean - range.noisy);
  return (4 * fraction).clamp(0.0, 3.0).to(torch::kInt64);
}

models::Conditions conditions_of_step(const score::ScoreModel& model,
                                      const data::LoadedBatch& loaded,
                                      const std::vector<int64_t>& slots, int64_t step) {
  const config::Config& config = model.config;
  const data::Batch& batch = loaded.batch;
  const bool has_conditions = batch.numbers.defined() || batch.fields.defined();
  models::Conditions given({}, batch.numbers, batch.fields, {});
  if (model.is_classifier()) given.labels = batch.labels;
  const bool labelled = config.model.num_classes > 0 && !model.is_classifier();
  if (!labelled && !has_conditions) return given;
  const auto u =
      uniform_for_slots(key_at(config, RandomStream::label_drop, step), slots, {}, torch::kFloat32);
  const torch::Tensor dropped = u < config.diffusion.label_drop;
  if (has_conditions) given.told = dropped.logical_not().to(torch::kFloat32);
  if (labelled)
    given.labels = torch::where(dropped, torch::full_like(batch.labels, config.model.num_classes),
                                batch.labels);
  return given;
}

double learning_rate_of(const config::TrainConfig& train, int64_t step) {
  optim::LrScheduleOptions rate = train.rate;
  rate.total_steps = config::total_steps(train);
  return optim::learning_rate_at(rate, step);
}

std::string trouble_of(const torch::Tensor& losses, const std::vector<int64_t>& indices,
                       const torch::Tensor& times) {
  std::string trouble;
  const double* const loss = losses.const_data_ptr<double>();
  for (int64_t i = 0; i < losses.size(0); ++i) {
    if (std::isfinite(loss[i])) continue;
    trouble += " sample " + std::to_string(indices[static_cast<size_t>(i)]) +
               " at t = " + std::to_string(times[i].item<double>()) + ";";
  }
  return trouble;
}

namespace {

std::string overflow_sentence(double scale) {
  char text[128];
  std::snprintf(text, sizeof text,
                "gradients overflow float16 at a loss scale of %g, which is halved (normal while "
                "it adapts);",
                scale);
  return text;
}

}  // namespace

StepReport report_of(const comm::ControlVector& control, const config::TrainConfig& train,
                     int64_t step, double norm, const optim::LossScale& scale,
                     const std::string& own_trouble, comm::Communicator& comm) {
  StepReport r;
  r.step = step;
  r.grad_norm = norm;
  r.loss = control.sum("loss") / static_cast<double>(train.batch_size);
  for (int q = 0; q < 4; ++q) {
    r.quartile_loss[q] = control.sum("quartile_loss", q);
    r.quartile_count[q] = control.sum("quartile_count", q);
  }
  r.data_wait_seconds = control.sum("data_wait") / comm.size();
  r.comm_exposed_seconds = control.sum("comm_exposed") / comm.size();
  r.stop = control.any("stop");
  r.learning_rate = learning_rate_of(train, step);
  const auto bad_ranks = control.raised_by("not_finite");
  r.skipped = !bad_ranks.empty() || !std::isfinite(norm);
  if (!bad_ranks.empty()) {
    // Every rank knows who it was, so all take part in asking that rank for its samples.
    const std::string samples =
        comm::broadcast_text(comm, own_trouble, bad_ranks[0], "samples of a non-finite loss");
    r.trouble = "the loss on rank " + std::to_string(bad_ranks[0]) + " is not finite:" + samples;
  } else if (r.skipped && scale.can_fall()) {
    r.overflow = true;
    r.trouble = overflow_sentence(scale.value());
  } else if (r.skipped) {
    r.trouble = "the loss is finite on all ranks, but the reduced gradient is not;";
  }
  return r;
}

}  // namespace scorenet::train
