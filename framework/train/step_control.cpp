#include "framework/train/step_control.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "framework/comm/fingerprint.hpp"
#include "framework/config/validate.hpp"
#include "framework/optim/lr_schedule.hpp"

namespace scorenet::train {

using comm::ControlField;

std::vector<ControlField> step_control_fields(int64_t global_batch, bool example_losses) {
  std::vector<ControlField> fields = {
      {"loss", ControlField::Kind::sum},
      {"not_finite", ControlField::Kind::flag},
      {"stop", ControlField::Kind::flag},
      {"level_loss", ControlField::Kind::sum, kLevelBins},
      {"save", ControlField::Kind::flag},
      {"writing", ControlField::Kind::flag},
      {"write_failed", ControlField::Kind::flag},
      {"data_wait", ControlField::Kind::sum},
      {"level_count", ControlField::Kind::sum, kLevelBins},
      {"comm_exposed", ControlField::Kind::sum},
      {"reorder", ControlField::Kind::flag},
  };
  if (example_losses) fields.push_back({"example_loss", ControlField::Kind::sum, global_batch});
  return fields;
}

torch::Tensor level_bins_of(const diffusion::Schedule& schedule, const torch::Tensor& times) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor ends = schedule.log_snr(diffusion::end_times(schedule, times.device()));
  const auto fraction = (ends[0] - schedule.log_snr(times)) / (ends[0] - ends[1]);
  return (kLevelBins * fraction).clamp(0.0, kLevelBins - 1.0).to(torch::kInt64);
}

models::Conditions conditions_of_step(const score::ScoreModel& model,
                                      const data::LoadedBatch& loaded,
                                      const std::vector<int64_t>& slots, int64_t step) {
  const config::Config& config = model.config;
  const data::Batch& batch = loaded.batch;
  const bool has_conditions = batch.numbers.defined() || batch.fields.defined();
  models::Conditions given({}, batch.numbers, batch.fields, {}, loaded.augment);
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
  rate.warmup_steps = config::warmup_steps(train);
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

constexpr size_t kTold = 4;  // samples of a spike

struct ToldLoss {
  double loss = -1, index = -1, time = 0;  // index -1: none
};

// This rank's largest losses, in falling order.
std::array<ToldLoss, kTold> own_largest(const OwnExamples& own) {
  std::vector<ToldLoss> all;
  const auto times = own.times.accessor<double, 1>();
  for (size_t i = 0; i < own.losses.size(); ++i) {
    all.push_back(
        {own.losses[i], static_cast<double>(own.indices[i]), times[static_cast<int64_t>(i)]});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const ToldLoss& a, const ToldLoss& b) { return a.loss > b.loss; });
  std::array<ToldLoss, kTold> largest{};
  std::copy_n(all.begin(), std::min(all.size(), kTold), largest.begin());
  return largest;
}

}  // namespace

void raise_wishes(comm::ControlVector& control, const Wishes& wishes) {
  if (wishes.stop) control.raise("stop");
  if (wishes.save) control.raise("save");
  if (wishes.writing) control.raise("writing");
  if (wishes.write_failed) control.raise("write_failed");
}

SpikeLaw::Limits summed_limits(const config::TrainConfig& train, const SpikeLaw& spikes,
                               int64_t step) {
  SpikeLaw::Limits limits = spikes.limits(step);
  limits.loss *= static_cast<double>(train.batch_size);
  return limits;
}

std::string largest_losses(const OwnExamples& own, comm::Communicator& comm) {
  const auto mine = own_largest(own);
  const auto ranks = static_cast<size_t>(comm.size());
  std::vector<ToldLoss> all(kTold * ranks);
  constexpr auto kNumbers = static_cast<int64_t>(3 * kTold);
  static_assert(sizeof(ToldLoss) == 3 * sizeof(double));
  auto sent = mine;
  comm.all_gather({sent.data(), kNumbers, comm::DataType::float64},
                  {all.data(), kNumbers * comm.size(), comm::DataType::float64},
                  "samples of a spike")
      .wait();
  std::vector<size_t> places;
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].index >= 0) places.push_back(i);
  std::stable_sort(places.begin(), places.end(),
                   [&](size_t a, size_t b) { return all[a].loss > all[b].loss; });
  std::string text;
  for (size_t i = 0; i < std::min(places.size(), kTold); ++i) {
    const ToldLoss& told = all[places[i]];
    char part[128];
    std::snprintf(part, sizeof part, "%s sample %.0f of rank %zu at t = %.6g (loss %.4g)",
                  i == 0 ? "" : ",", told.index, places[i] / kTold, told.time, told.loss);
    text += part;
  }
  return text;
}

namespace {

// Whether a finite step is a spike. All ranks judge the same numbers.
void judge(StepReport& r, const comm::ControlVector& control, const config::TrainConfig& train,
           const OwnExamples& own, SpikeLaw& spikes, comm::Communicator& comm) {
  // Sums, as a device compares them (device_step.cpp).
  const SpikeLaw::Limits limits = summed_limits(train, spikes, r.step);
  const bool loss_is_high = control.sum("loss") > limits.loss;
  const bool norm_is_high = r.grad_norm > limits.grad_norm;
  r.spike = loss_is_high || norm_is_high;
  r.skipped = r.spike && train.on_spike == "skip";
  if (r.spike) {
    r.trouble = (loss_is_high ? spikes.loss_sentence(r.step, r.loss) : "") +
                (loss_is_high && norm_is_high ? " and " : "") +
                (norm_is_high ? spikes.norm_sentence(r.step, r.grad_norm) : "") +
                "; largest losses:" + largest_losses(own, comm) + ";";
  }
  spikes.observe(r.step, r.loss, r.grad_norm);
}

}  // namespace

StepReport report_of(const comm::ControlVector& control, const config::TrainConfig& train,
                     int64_t step, double norm, const optim::LossScale& scale,
                     const OwnExamples& own, SpikeLaw& spikes, comm::Communicator& comm) {
  StepReport r;
  r.step = step;
  r.grad_norm = norm;
  r.loss = control.sum("loss") / static_cast<double>(train.batch_size);
  for (int64_t bin = 0; bin < kLevelBins; ++bin) {
    r.level_loss[bin] = control.sum("level_loss", bin);
    r.level_count[bin] = control.sum("level_count", bin);
  }
  r.data_wait_seconds = control.sum("data_wait") / comm.size();
  r.comm_exposed_seconds = control.sum("comm_exposed") / comm.size();
  r.stop = control.any("stop");
  r.save = control.any("save");
  r.writing = control.any("writing");
  r.write_failed = control.raised_by("write_failed");
  r.learning_rate = learning_rate_of(train, step);
  const auto bad_ranks = control.raised_by("not_finite");
  r.skipped = !bad_ranks.empty() || !std::isfinite(norm);
  if (!bad_ranks.empty()) {
    // Every rank knows who it was, so all take part in asking that rank for its samples.
    const std::string samples =
        comm::broadcast_text(comm, own.trouble, bad_ranks[0], "samples of a non-finite loss");
    r.trouble = "the loss on rank " + std::to_string(bad_ranks[0]) + " is not finite:" + samples;
  } else if (r.skipped && scale.can_fall()) {
    r.overflow = true;
    r.trouble = overflow_sentence(scale.value());
  } else if (r.skipped) {
    r.trouble = "the loss is finite on all ranks, but the reduced gradient is not;";
  }
  if (!r.skipped) judge(r, control, train, own, spikes, comm);
  return r;
}

}  // namespace scorenet::train
