#include "framework/train/device_step.hpp"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "framework/comm/any_rank.hpp"
#include "framework/core/device_words.hpp"
#include "framework/core/error.hpp"
#include "framework/core/pixels.hpp"
#include "framework/train/step_control.hpp"
#include "models/blocks.hpp"

namespace scorenet::train {
namespace {

// Steps that are launched kernel by kernel before one is recorded: libraries choose their kernels
// and their scratch memory in them.
constexpr int64_t kEagerSteps = 3;

c10::Stream current_stream(torch::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

bool has_labels(const score::ScoreModel& model) {
  return model.is_classifier() || model.config.model.num_classes > 0;
}

}  // namespace

bool DeviceStep::fits(const score::ScoreModel& model, const Objective& objective,
                      const Update& update, const comm::Communicators& comms) {
  const int ranks = comms.host->size();
  return draws_words_on(model.device) && objective.runs_on_device() && update.runs_on_device() &&
         (ranks == 1 || comms.device) && model.config.train.batch_size >= ranks;
}

DeviceStep::~DeviceStep() = default;

// At the first step: only then the examples' type is known.
void DeviceStep::allocate(const data::LoadedBatch& loaded, const models::Conditions& given) {
  const torch::Device device = model_.device;
  const torch::Tensor& examples = loaded.batch.examples;
  local_ = loaded.slots.size();
  pixels_.emplace(examples.sizes(), examples.scalar_type(), device);
  observed_.allocate(loaded.batch.observed, device);
  told_numbers_.allocate(given.numbers, device);
  told_fields_.allocate(given.fields, device);
  told_.allocate(given.told, device);
  told_augment_.allocate(given.augment, device);
  times_ = numbers_.add(local_);
  inverse_density_ = numbers_.add(local_);
  weight_ = numbers_.add(local_);
  before_ = numbers_.add(model_.config.diffusion.train_steps > 0 ? local_ : 0);
  host_numbers_ = numbers_.add(control_.buffer().count);
  learning_rate_ = numbers_.add(1);
  average_shares_ = numbers_.add(static_cast<int64_t>(update_.ema_profiles().size()));
  limits_ = numbers_.add(2);
  numbers_.allocate(torch::kFloat64, device);
  slots_ = words_.add(local_);
  labels_ = words_.add(has_labels(model_) ? local_ : 0);
  noise_key_ = words_.add(1);
  probe_key_ = words_.add(model_.config.diffusion.divergence_weight > 0 ? 1 : 0);
  dropout_keys_ = words_.add(model_.config.model.dropout > 0 ? models::kMostDropoutLayers : 0);
  words_.allocate(torch::kInt64, device);
  const auto count = local_ + control_.buffer().count + 1;
  const auto options = torch::dtype(torch::kFloat64);
  results_ = torch::zeros({count}, options.device(device));
  for (Return& back : returns_) {
    back.values = torch::zeros({count}, options.pinned_memory(device.is_cuda()));
    back.arrived = std::make_unique<c10::Event>(device.type());
  }
}

// The host's part of a step.
DeviceStep::UnderWay DeviceStep::hand_over(const data::LoadedBatch& loaded, int64_t step,
                                           const Wishes& wishes) {
  const auto slots = slot_range(loaded.slots.begin, loaded.slots.size());
  const DrawnLevels levels = objective_.draw_levels(step, slots);
  const diffusion::TimeSample& times = levels.times;
  const models::Conditions given = conditions_of_step(model_, loaded, slots, step);
  if (!pixels_) allocate(loaded, given);
  control_.clear();
  control_.add("data_wait", loaded.wait_seconds);
  control_.add("comm_exposed", traffic().exposed_seconds);
  raise_wishes(control_, wishes);
  if (!whole_ && update_.wants_new_order()) control_.raise("reorder");

  pixels_->next().copy_(loaded.batch.examples);
  numbers_.next(times_).copy_(times.t);
  numbers_.next(inverse_density_)
      .copy_(times.inverse_density.defined() ? times.inverse_density : torch::ones_like(times.t));
  numbers_.next(weight_).copy_(levels.weight);
  if (levels.before.defined()) numbers_.next(before_).copy_(levels.before);
  const comm::Buffer own = control_.buffer();
  numbers_.next(host_numbers_).copy_(torch::from_blob(own.data, {own.count}, torch::kFloat64));
  numbers_.next(learning_rate_).fill_(learning_rate_of(model_.config.train, step));
  const int64_t batch = model_.config.train.batch_size;
  const std::vector<double> shares = update_.average_shares({step, step * batch, batch});
  numbers_.next(average_shares_).copy_(torch::tensor(shares, torch::kFloat64));
  const SpikeLaw::Limits limits = summed_limits(model_.config.train, spikes_, step);
  numbers_.next(limits_).copy_(torch::tensor({limits.loss, limits.grad_norm}, torch::kFloat64));
  fill_words(slots, given, step);
  pixels_->send();
  send_told(loaded, given);
  numbers_.send();
  words_.send();
  return {step, static_cast<size_t>(steps_run_ % 2), loaded.batch.indices, times.t};
}

void DeviceStep::send_told(const data::LoadedBatch& loaded, const models::Conditions& given) {
  observed_.send(loaded.batch.observed);
  told_numbers_.send(given.numbers);
  told_fields_.send(given.fields);
  told_.send(given.told);
  told_augment_.send(given.augment);
}

void DeviceStep::fill_words(const std::vector<int64_t>& slots, const models::Conditions& given,
                            int64_t step) {
  const config::Config& config = model_.config;
  words_.next(slots_).copy_(torch::tensor(slots, torch::kInt64));
  if (has_labels(model_)) words_.next(labels_).copy_(given.labels);
  words_.next(noise_key_).fill_(key_word(key_at(config, RandomStream::training_noise, step)));
  if (config.diffusion.divergence_weight > 0)
    words_.next(probe_key_).fill_(key_word(key_at(config, RandomStream::trace_probe, step)));
  if (config.model.dropout == 0) return;
  const RandomKey key = key_at(config, RandomStream::dropout, step);
  int64_t* const keys = words_.next(dropout_keys_).data_ptr<int64_t>();
  for (int64_t layer = 0; layer < models::kMostDropoutLayers; ++layer)
    keys[layer] = key_word(models::dropout_key(key, layer));
}

NoisedExamples DeviceStep::examples() const {
  NoisedExamples e;
  e.x0 = in_model_range(pixels_->on_device(), objective_.levels()).to(torch::kFloat32);
  e.eps = normal_for_slots({words_.on_device(noise_key_), words_.on_device(slots_)},
                           e.x0.sizes().slice(1), torch::kFloat32);
  if (model_.config.diffusion.divergence_weight > 0) {
    e.probe = rademacher_for_slots({words_.on_device(probe_key_), words_.on_device(slots_)},
                                   e.x0.sizes().slice(1), torch::kFloat32);
  }
  if (const torch::Tensor observed = observed_.on_device(); observed.defined()) {
    e.observed = observed.to(torch::kFloat32);
    e.eps = e.eps * e.observed;
  }
  e.given = {has_labels(model_) ? words_.on_device(labels_) : torch::Tensor(),
             told_numbers_.on_device(), told_fields_.on_device(), told_.on_device(),
             told_augment_.on_device()};
  e.levels.times = {numbers_.on_device(times_), numbers_.on_device(inverse_density_)};
  e.levels.weight = numbers_.on_device(weight_);
  if (model_.config.diffusion.train_steps > 0) e.levels.before = numbers_.on_device(before_);
  return e;
}

// silent: nothing travels meanwhile.
void DeviceStep::accumulate_gradients(bool silent) {
  const config::Config& config = model_.config;
  const NoisedExamples e = examples();
  const auto pieces = silent ? update_.start_silent(local_) : update_.start(local_);
  for (const Piece& piece : pieces) {
    const auto part = [&](const torch::Tensor& t) {
      return t.defined() ? t.narrow(0, piece.first, piece.count) : t;
    };
    models::BatchSlots dropout;
    dropout.device_slots = part(words_.on_device(slots_));
    dropout.device_keys = words_.on_device(dropout_keys_);
    const torch::Tensor loss =
        objective_.loss_per_example({part(e.x0), part(e.eps), part(e.probe), e.given.mapped(part),
                                     e.levels.narrow(piece.first, piece.count), part(e.observed)},
                                    config.model.dropout > 0 ? &dropout : nullptr);
    if (!silent) update_.begin(piece);
    weighted_sum(loss).backward();
    if (!silent) update_.end(piece);
    results_.narrow(0, piece.first, piece.count).copy_(loss.detach());
  }
  control_results().copy_(own_numbers());
}

torch::Tensor DeviceStep::weighted_sum(const torch::Tensor& loss) const {
  const torch::Tensor sum = loss.sum() * loss_weight(model_.config.train);
  const optim::LossScaleOnDevice& scale = update_.loss_scale_on_device();
  return scale.adapts() ? sum * scale.value() : sum;
}

torch::Tensor DeviceStep::control_results() const {
  return results_.narrow(0, local_, results_.size(0) - local_ - 1);
}

torch::Tensor DeviceStep::norm_result() const {
  return results_.narrow(0, results_.size(0) - 1, 1);
}

// The control vector of this rank: the host's numbers, and what the losses add to them.
torch::Tensor DeviceStep::own_numbers() const {
  const torch::Tensor losses = results_.narrow(0, 0, local_);
  const torch::Tensor finite = losses.isfinite();
  const torch::Tensor bins = level_bins_of(*model_.schedule, numbers_.on_device(times_));
  const torch::Tensor bin = torch::arange(kLevelBins, bins.options());
  const torch::Tensor in_bin = bins.unsqueeze(0).eq(bin.unsqueeze(1)).logical_and(finite);
  const torch::Tensor sums = torch::where(in_bin, losses, 0.0).sum(1);
  torch::Tensor all = numbers_.on_device(host_numbers_).clone();
  const auto place = [&](const std::string& field, int64_t count) {
    return all.narrow(0, static_cast<int64_t>(control_.first_of(field)), count);
  };
  place("loss", 1).copy_(sums.sum());
  place("level_loss", kLevelBins).copy_(sums);
  place("level_count", kLevelBins).copy_(in_bin.sum(1));
  const auto flag = control_.own_flag("not_finite");
  all.narrow(0, static_cast<int64_t>(flag.first), 1)
      .copy_(finite.logical_not().any().to(torch::kFloat64) * std::ldexp(1.0, flag.bit));
  return all;
}

// started: buckets have left during backward.
void DeviceStep::sum_over_ranks(bool started) {
  if (alone()) return;
  update_.sum_on_device(started);
  torch::Tensor control = control_results();
  if (update_.norms_are_parts()) {
    const torch::NoGradGuard no_grad;
    norm_result().copy_(update_.norm_on_device().square());
    control = results_.narrow(0, local_, control.numel() + 1);
  }
  control_sum_.wait();
  control_sum_ =
      comms_.bulk().all_reduce({control.data_ptr(), control.numel(), comm::DataType::float64},
                               comm::ReduceOp::sum, "control vector");
  control_sum_.join();
}

// The host compares the same numbers when it reads the report.
torch::Tensor DeviceStep::is_no_spike(const torch::Tensor& norm) const {
  const torch::Tensor limits = numbers_.on_device(limits_);
  const torch::Tensor loss = control_results()[static_cast<int64_t>(control_.first_of("loss"))];
  return loss.le(limits[0]).logical_and(norm.to(torch::kFloat64).le(limits[1]));
}

void DeviceStep::update_weights() {
  const torch::NoGradGuard no_grad;
  const torch::Tensor norm =
      update_.norms_are_parts() ? norm_result().squeeze(0).sqrt() : update_.norm_on_device();
  norm_result().copy_(norm);
  const torch::Tensor bad_ranks = control_results().narrow(
      0, static_cast<int64_t>(control_.first_of("not_finite")), control_.flag_words());
  const torch::Tensor good_losses = bad_ranks.eq(0).all();
  torch::Tensor apply = good_losses.logical_and(norm.isfinite());
  if (model_.config.train.on_spike == "skip") apply = apply.logical_and(is_no_spike(norm));
  update_.step({numbers_.on_device(learning_rate_).to(torch::kFloat32).squeeze(0), norm,
                apply.to(torch::kFloat32)},
               numbers_.on_device(average_shares_).to(torch::kFloat32));
  update_.adapt_loss_scale_on_device(good_losses.logical_and(norm.isfinite().logical_not()));
}

// The device's part of a step.
void DeviceStep::compute() {
  accumulate_gradients(/*silent=*/false);
  sum_over_ranks(/*started=*/true);
  update_weights();
  update_.share_weights_on_device();
}

// The order in which buckets leave is part of a recording: all ranks have agreed on it.
bool DeviceStep::records_now() const {
  return model_.config.run.graph && !model_.trained().foreign && records_graphs(model_.device) &&
         !whole_ && !before_sums_ && steps_run_ >= kEagerSteps &&
         (alone() || !update_.reducer().observed_order().empty());
}

// A graph without the sums comes first. What cannot be recorded of a step then ends the job here,
// before NCCL's ranks, which may wait for one another while they record, are at it.
void DeviceStep::record() {
  if (alone()) {
    whole_ = record_graph(model_.device, [this] { compute(); });
    return;
  }
  before_sums_ = record_graph(model_.device, [this] { accumulate_gradients(/*silent=*/true); });
  after_sums_ = record_graph(model_.device, [this] { update_weights(); });
  // A recording may ask for nothing that is under way.
  update_.settle();
  control_sum_.wait();
  const std::string trouble = record_with_sums();
  note_ = trouble.empty()
              ? "recorded as one graph, the sums over the ranks within"
              : "recorded as two graphs, the sums over the ranks between them: " + trouble;
  if (!trouble.empty()) return;
  before_sums_.reset();
  after_sums_.reset();
}

// Into whole_, and returns nothing; or what stands against it on some rank, and there is no whole_.
// The same on all ranks.
std::string DeviceStep::record_with_sums() {
  std::string trouble;
  if (!comms_.bulk().can_be_recorded()) {
    trouble = "what carries them cannot be recorded";
  } else {
    try {
      whole_ = record_graph(model_.device, [this] { compute(); }, before_sums_.get());
    } catch (const CommError&) {
      throw;
    } catch (const std::exception& e) {
      trouble = e.what();
    }
  }
  trouble = comm::first_told(*comms_.host, trouble, "recorded step");
  if (!trouble.empty()) whole_.reset();
  return trouble;
}

void DeviceStep::launch(Return& back) {
  if (records_now()) record();
  if (whole_) {
    whole_->launch();
    if (!alone()) back.replayed = comms_.bulk().watch("recorded step");
  } else if (before_sums_) {
    before_sums_->launch();
    sum_over_ranks(/*started=*/false);
    after_sums_->launch();
    update_.share_weights_on_device();
  } else {
    compute();
  }
}

// Of the last step. Times within a graph are not known.
reduce::ReducerStats DeviceStep::traffic() const {
  if (!whole_) return update_.traffic();
  reduce::ReducerStats recorded;
  recorded.calls = update_.traffic().calls;
  recorded.bytes = update_.traffic().bytes;
  return recorded;
}

// Behind everything that was launched.
void DeviceStep::send_results(const UnderWay& of) {
  Return& back = returns_[of.place];
  back.values.copy_(results_, /*non_blocking=*/true);
  back.arrived->record(current_stream(model_.device));
}

std::optional<StepReport> DeviceStep::run(const data::LoadedBatch& loaded, int64_t step,
                                          const Wishes& wishes) {
  clock_.begin_step(loaded.wait_seconds);
  if (!under_way_) update_.take_loss_scale();
  const UnderWay next = hand_over(loaded, step, wishes);
  launch(returns_[next.place]);
  send_results(next);
  ++steps_run_;
  // While the device works on this step: what became of the one before.
  clock_.enter(StepPhase::communication);
  std::optional<StepReport> report;
  if (under_way_) report = read_report(*under_way_);
  under_way_ = next;
  clock_.end_step(traffic());
  return report;
}

std::optional<StepReport> DeviceStep::settle() {
  if (!under_way_) return std::nullopt;
  update_.settle();
  control_sum_.wait();
  const StepReport report = read_report(*under_way_);
  under_way_.reset();
  return report;
}

StepReport DeviceStep::read_report(const UnderWay& of) {
  Return& back = returns_[of.place];
  back.replayed.wait();  // within the time limit
  while (!back.arrived->query()) std::this_thread::sleep_for(std::chrono::microseconds(20));
  const torch::Tensor losses = back.values.narrow(0, 0, local_);
  const comm::Buffer summed = control_.buffer();
  torch::from_blob(summed.data, {summed.count}, torch::kFloat64)
      .copy_(back.values.narrow(0, local_, summed.count));
  if (control_.any("reorder")) update_.observe_order_again();
  const std::vector<double> own(losses.const_data_ptr<double>(),
                                losses.const_data_ptr<double>() + local_);
  const StepReport report = report_of(
      control_, model_.config.train, of.step, back.values[back.values.size(0) - 1].item<double>(),
      update_.loss_scale(), {trouble_of(losses, of.indices, of.times), own, of.indices, of.times},
      spikes_, *comms_.host);
  update_.adapt_loss_scale(report.overflow);
  return report;
}

}  // namespace scorenet::train
