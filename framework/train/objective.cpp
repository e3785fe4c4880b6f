#include "framework/train/objective.hpp"

#include <algorithm>
#include <iterator>

#include "framework/core/check.hpp"
#include "framework/diffusion/guidance.hpp"
#include "framework/diffusion/learned_schedule.hpp"
#include "framework/diffusion/learned_weights.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/second_order.hpp"

namespace scorenet::train {
namespace {

using diffusion::Weighting;

// A position in [0, 1) for each slot; the rules of a history are stratified too.
torch::Tensor positions_of(const config::Config& config, int64_t step,
                           const std::vector<int64_t>& slots) {
  const RandomKey key = key_at(config, RandomStream::training_time, step);
  return config.diffusion.time_sampling == "uniform"
             ? diffusion::independent_positions(key, slots)
             : diffusion::stratified_positions(key, slots, config.train.batch_size);
}

bool is_bound(const config::DiffusionConfig& d) {
  return d.loss == "elbo" || d.loss == "likelihood";
}

// ---- the losses, each (B) float64 in nats

struct LossInput {
  const score::ScoreModel& model;
  const diffusion::Network& network;
  const NoisedExamples& examples;
  int64_t levels;  // of discrete data; 0: continuous

  const config::DiffusionConfig& config() const { return model.config.diffusion; }
  diffusion::Parametrisation parametrisation() const { return score::parametrisation(config()); }
};

torch::Tensor weighted_loss(const LossInput& in) {
  const auto& d = in.config();
  const NoisedExamples& e = in.examples;
  if (e.levels.before.defined() && is_bound(d)) {
    return diffusion::stepwise_loss_per_example(in.network, in.parametrisation(),
                                                *in.model.schedule, d.train_steps, e.x0,
                                                e.levels.chain(), e.eps);
  }
  return diffusion::loss_per_example(in.network, in.parametrisation(),
                                     diffusion::weighting_from_name(d.loss), *in.model.schedule,
                                     e.x0, e.levels.times, e.eps, d.min_snr_gamma);
}

torch::Tensor second_order_loss(const LossInput& in) {
  const auto& d = in.config();
  const NoisedExamples& e = in.examples;
  const auto weight =
      diffusion::loss_weight(diffusion::weighting_from_name(d.loss), in.parametrisation(),
                             *in.model.schedule, e.levels.times, d.min_snr_gamma);
  return weight.to(e.x0.device()) * diffusion::second_order_error(in.network, *in.model.schedule,
                                                                  e.x0, e.levels.times.t, e.eps,
                                                                  e.probe, d.divergence_weight);
}

// The ends' own terms matter where they are learned; elsewhere they have no gradient.
torch::Tensor learned_schedule_loss(const LossInput& in) {
  const NoisedExamples& e = in.examples;
  const diffusion::LearnedSchedule& schedule = *in.model.trained().learned_schedule;
  const diffusion::ScheduleTap tap(schedule, e.levels.times);
  const auto loss =
      diffusion::tapped_loss_per_example(in.network, in.parametrisation(), tap, e.x0, e.eps);
  if (!in.config().schedule.learn_ends) return loss;
  return loss + diffusion::end_terms_nats(schedule, in.levels, e.x0, e.eps);
}

// A weight that depends on log_snr alone is taken up by u, so the plain one serves
// every prediction.
torch::Tensor uncertainty_loss(const LossInput& in) {
  const NoisedExamples& e = in.examples;
  const auto dims = static_cast<double>(dims_per_example(e.x0));
  const auto simple =
      diffusion::loss_per_example(in.network, in.parametrisation(), Weighting::simple,
                                  *in.model.schedule, e.x0, e.levels.times, e.eps);
  return dims * in.model.trained().uncertainty->weigh(simple / dims,
                                                      in.model.schedule->log_snr(e.levels.times.t));
}

torch::Tensor hybrid_loss(const LossInput& in) {
  const auto& d = in.config();
  const NoisedExamples& e = in.examples;
  return diffusion::hybrid_loss_per_example(in.network, in.parametrisation(), *in.model.schedule,
                                            d.train_steps, e.x0, e.levels.chain(), e.eps,
                                            d.hybrid_weight);
}

torch::Tensor cross_entropy(const LossInput& in) {
  const NoisedExamples& e = in.examples;
  const diffusion::NoiseLevel level = in.model.schedule->at(e.levels.times.t);
  const auto logits =
      diffusion::scaled_classifier(in.network)(diffusion::add_noise(e.x0, e.eps, level), level);
  return torch::cross_entropy_loss(logits, e.given.labels.to(logits.device()), {},
                                   at::Reduction::None)
      .to(torch::kFloat64);
}

// ---- which of them a config asks for: the first row that holds

using Loss = torch::Tensor (*)(const LossInput&);

struct Row {
  bool (*holds)(const score::ScoreModel& model);
  Loss loss;
  double (*unit)(const NoisedExamples& e);  // what the loss is divided by
};

// Where nothing is observed x_t and every target are 0: an output of 0 makes no error there.
diffusion::Network only_observed(const diffusion::Network& network, const torch::Tensor& observed) {
  return [network, observed](const torch::Tensor& x, const torch::Tensor& log_snr) {
    const auto output = network(x, log_snr);
    return output * observed.to(output.options());
  };
}

double dimensions(const NoisedExamples& e) { return static_cast<double>(dims_per_example(e.x0)); }
double one(const NoisedExamples&) { return 1; }

const Row kObjectives[] = {
    {[](const score::ScoreModel& m) { return m.is_classifier(); }, cross_entropy, one},
    {[](const score::ScoreModel& m) { return m.trained().learned_schedule != nullptr; },
     learned_schedule_loss, dimensions},
    {[](const score::ScoreModel& m) { return m.config.diffusion.loss == "uncertainty"; },
     uncertainty_loss, dimensions},
    {[](const score::ScoreModel& m) { return m.config.diffusion.loss == "hybrid"; }, hybrid_loss,
     dimensions},
    {[](const score::ScoreModel& m) { return m.config.diffusion.divergence_weight > 0; },
     second_order_loss, dimensions},
    {[](const score::ScoreModel&) { return true; }, weighted_loss, dimensions},
};

const Row& objective_of(const score::ScoreModel& model) {
  return *std::find_if(std::begin(kObjectives), std::end(kObjectives),
                       [&](const Row& row) { return row.holds(model); });
}

}  // namespace

uint64_t draw_seed(const config::TrainConfig& train) {
  constexpr uint64_t kStride = 0x9e3779b97f4a7c15;  // odd: no two redraws of a seed meet
  return static_cast<uint64_t>(train.seed) + kStride * static_cast<uint64_t>(train.redraw);
}

RandomKey key_at(const config::Config& config, RandomStream stream, int64_t step) {
  return {draw_seed(config.train), stream, static_cast<uint64_t>(step)};
}

double loss_weight(const config::TrainConfig& train) {
  return train.loss_scaling / static_cast<double>(train.batch_size);
}

std::string objective_name(const score::ScoreModel& model) {
  return model.is_classifier() ? "cross-entropy" : model.config.diffusion.loss;
}

DrawnLevels DrawnLevels::narrow(int64_t first, int64_t count) const {
  const auto part = [&](const torch::Tensor& t) {
    return t.defined() ? t.narrow(0, first, count) : t;
  };
  return {{part(times.t), part(times.inverse_density)}, part(before), part(bin), part(weight)};
}

Objective::Objective(const score::ScoreModel& model, int64_t levels)
    : model_(model), levels_(levels) {
  const auto& d = model.config.diffusion;
  if (d.time_sampling != "loss_second_moment") return;
  history_ = diffusion::make_loss_history(d.train_steps > 0 ? d.train_steps : d.time_bins);
}

// Bins are the T steps, or intervals of t of equal length within which t is uniform.
DrawnLevels Objective::draw_levels(int64_t step, const std::vector<int64_t>& slots) const {
  const config::Config& config = model_.config;
  const auto& schedule = *model_.schedule;
  const int64_t steps = config.diffusion.train_steps;
  DrawnLevels levels;
  levels.weight = torch::ones({static_cast<int64_t>(slots.size())}, torch::kFloat64);
  if (!history_ && steps == 0) {
    const diffusion::TimeRule rule{config.diffusion.time_sampling, config.diffusion.P_mean,
                                   config.diffusion.P_std};
    levels.times =
        diffusion::draw_times(rule, schedule, key_at(config, RandomStream::training_time, step),
                              slots, config.train.batch_size);
    return levels;
  }
  torch::Tensor positions = positions_of(config, step, slots);
  if (history_) {
    const auto drawn = diffusion::draw_steps(*history_, positions);
    levels.bin = drawn.step;
    levels.weight = drawn.weight;
    // Where in [0, 1) the bin and the place within it are.
    positions = (drawn.step - 1 + drawn.fraction) / static_cast<double>(history_->counts.size(0));
  }
  levels.times = diffusion::uniform_times(schedule, positions);
  if (steps > 0) {
    const auto chain = diffusion::reverse_step(
        diffusion::step_times(schedule, steps),
        history_ ? levels.bin : diffusion::steps_from_positions(positions, steps));
    levels.before = chain.s;
    levels.times.t = chain.t;
  }
  return levels;
}

torch::Tensor Objective::draw_probe(int64_t step, const std::vector<int64_t>& slots,
                                    const torch::Tensor& x0) const {
  if (model_.config.diffusion.divergence_weight == 0) return {};
  return rademacher_for_slots(key_at(model_.config, RandomStream::trace_probe, step), slots,
                              x0.sizes().slice(1), torch::kFloat32, x0.device());
}

torch::Tensor Objective::loss_per_example(const NoisedExamples& e,
                                          const models::BatchSlots* dropout) const {
  // A classifier is asked for the labels: it is not told them.
  models::Conditions given = e.given;
  if (model_.is_classifier()) given.labels = torch::Tensor();
  const Row& objective = objective_of(model_);
  if (e.observed.defined()) {
    const auto network = only_observed(score::network_for(model_, given, dropout), e.observed);
    const auto dims = sum_per_example(e.observed).to(torch::kFloat64).clamp_min(1);
    return e.levels.weight.to(e.x0.device()) / dims * objective.loss({model_, network, e, levels_});
  }
  const auto network = score::network_for(model_, given, dropout);
  const auto weight = e.levels.weight.to(e.x0.device()) / objective.unit(e);
  return weight * objective.loss({model_, network, e, levels_});
}

// The decoder at a learned end sums over as many levels as that end makes probable.
bool Objective::runs_on_device() const {
  const bool has_learned_decoder = model_.config.diffusion.schedule.learn_ends && levels_ > 0;
  return !history_ && !has_learned_decoder;
}

void Objective::observe(int64_t step, const std::vector<double>& losses) {
  const auto slots = slot_range(0, static_cast<int64_t>(losses.size()));
  const DrawnLevels levels = draw_levels(step, slots);
  diffusion::record_losses(*history_, levels.bin,
                           torch::tensor(losses, torch::kFloat64) / levels.weight);
}

std::vector<std::pair<std::string, torch::Tensor>> Objective::state() const {
  if (!history_) return {};
  return {{"history.losses", history_->losses}, {"history.counts", history_->counts}};
}

}  // namespace scorenet::train
