#include "framework/train/held_out.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "framework/comm/any_rank.hpp"
#include "framework/comm/on_rank_zero.hpp"
#include "framework/comm/single_communicator.hpp"
#include "framework/core/pixels.hpp"
#include "framework/core/stop_signal.hpp"
#include "framework/data/fit.hpp"
#include "framework/data/png.hpp"
#include "framework/evaluate/classifier_report.hpp"
#include "framework/evaluate/evaluation.hpp"
#include "framework/evaluate/generate.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/score/model_input.hpp"

namespace scorenet::train {

// Of one evaluation: its step, who takes part, and where it is told.
struct HeldOut::Place {
  int64_t step;
  comm::Communicator& comm;
  MetricsLog* log;
};

HeldOut::HeldOut(const config::Config& config, const RunFolder& folder, Learner& learner,
                 comm::Communicator& comm)
    : config_(config),
      folder_(folder),
      learner_(learner),
      comm_(comm),
      dataset_(config.data.map, config.eval.split, score::dataset_options(config, comm)) {
  data::ExpectedData expected = score::expected_data(learner.model);
  expected.name = "the split " + config.data.split;
  const auto check = [&] {
    data::check_fit(expected, dataset_, config.eval.n);
    return std::string();
  };
  comm::on_rank_zero(comm, check, "check of the held-out data");
  // Before the first step, not at the first evaluation.
  evaluate::decoder_for(config.eval.decoder, dataset_.levels());
}

std::string HeldOut::shared_samples(const data::ImageDataset& training) const {
  if (config_.eval.split == config_.data.split) return "";
  const int64_t shared = dataset_.shared_with(training);
  if (shared == 0) return "";
  return std::to_string(shared) + " of " + std::to_string(dataset_.size()) +
         " samples of the split " + config_.eval.split + " are in " + config_.data.split +
         ", too, so that evaluations are not of held-out data; correct data.splits";
}

bool HeldOut::draws_grids() const {
  return !learner_.model.is_classifier() && config_.eval.samples > 0 &&
         dataset_.example_shape().size() == 3;
}

bool HeldOut::is_whole(int64_t step, const MetricsLog& log) const {
  std::vector<std::filesystem::path> files = {folder_.evaluation(step)};
  if (draws_grids())
    for (const char* weights : {"raw-", ""}) files.push_back(folder_.grid(step, weights));
  const auto is_file = [](const auto& path) { return std::filesystem::is_regular_file(path); };
  return log.has_evaluation(step) && std::all_of(files.begin(), files.end(), is_file);
}

bool HeldOut::evaluate(int64_t step, MetricsLog* log) {
  const bool on_all_ranks = config_.eval.ranks == "all";
  const torch::Tensor average = learner_.update.average(0);
  bool given_up = false;
  if (on_all_ranks || comm_.rank() == 0) {
    const auto alone = comm::make_single_communicator();
    try {
      evaluate_all({step, on_all_ranks ? comm_ : *alone, log}, average);
    } catch (const StopRequested&) {
      given_up = true;
    }
  }
  return !comm::any_rank(comm_, given_up, "evaluation");
}

void HeldOut::evaluate_all(const Place& place, const torch::Tensor& average) {
  const torch::NoGradGuard no_grad;
  if (draws_grids()) draw_grid(place, "raw-");
  const optim::EmaScope averaged(learner_.parameters.values(), average);
  if (draws_grids()) draw_grid(place, "");
  if (learner_.model.is_classifier())
    evaluate_classifier(place);
  else
    evaluate_likelihood(place);
  if (place.log) place.log->evaluation_is_whole(place.step);
}

void HeldOut::draw_grid(const Place& place, const std::string& weights) {
  const auto& shape = dataset_.example_shape();
  diffusion::SamplerOptions sampler;
  sampler.name = config_.eval.sampler;
  sampler.steps = config_.eval.sampler_steps;
  sampler.final = evaluate::default_final(shape);
  // Each is told what a held-out sample is told, in their order.
  evaluate::GuidanceOptions guidance;
  if (!config_.conditions.empty()) guidance.told = evaluate::told_as(dataset_);
  const auto samples =
      evaluate::generate(learner_.evaluated_model(), shape, slot_range(0, config_.eval.samples),
                         sampler, guidance, config_.eval.micro_batch, place.comm);
  if (!place.log) return;
  const auto divisors =
      evaluate::divided_by(learner_.model, guidance.told, 0, config_.eval.samples);
  data::write_png_grid(folder_.grid(place.step, weights),
                       pixels_from_data(score::picture_values(learner_.model, samples.x, divisors)),
                       8);
  place.log->grid(folder_.grid(place.step, weights), weights);
}

void HeldOut::evaluate_likelihood(const Place& place) {
  const evaluate::EvaluationReport report =
      evaluate::evaluate(learner_.evaluated_model(), dataset_,
                         evaluate::training_evaluation(config_.eval), place.comm);
  if (!place.log) return;
  for (const auto& [name, value] : evaluate::headline(report))
    place.log->metric(place.step, name, value);
  // Last: an evaluation that has its report is whole.
  files::write_file_atomically(folder_.evaluation(place.step), to_json(report).dump(2) + "\n");
  place.log->line("evaluation at step " + std::to_string(place.step) + ": " +
                  evaluate::summary(report));
}

void HeldOut::evaluate_classifier(const Place& place) {
  const evaluate::ClassifierReport report =
      evaluate::evaluate_classifier(learner_.evaluated_model(), dataset_,
                                    evaluate::training_evaluation(config_.eval), place.comm);
  if (!place.log) return;
  const auto json = to_json(report);
  for (const char* name : {"cross_entropy", "accuracy", "accuracy_clean"})
    place.log->metric(place.step, name, json.at(name).get<double>());
  files::write_file_atomically(folder_.evaluation(place.step), json.dump(2) + "\n");
  place.log->line("evaluation at step " + std::to_string(place.step) + ": " + json.dump());
}

}  // namespace scorenet::train
