#include "framework/evaluate/classifier_report.hpp"

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>

#include "framework/diffusion/likelihood/diffusion_term.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/diffusion/time_sampler.hpp"
#include "framework/evaluate/rows_over_ranks.hpp"
#include "framework/score/classifier.hpp"
#include "framework/score/model_input.hpp"
#include "framework/score/told_conditions.hpp"

namespace scorenet::evaluate {
namespace {

// nats and 1 for a right answer, (B, 2) float64.
torch::Tensor answers(const torch::Tensor& logits, const torch::Tensor& labels) {
  const auto nats = torch::cross_entropy_loss(logits, labels, {}, at::Reduction::None);
  const auto right = logits.argmax(1).eq(labels);
  return torch::stack({nats.to(torch::kFloat64), right.to(torch::kFloat64)}, 1).to(torch::kCPU);
}

// (B, 3): nats and accuracy over the noisy draws, accuracy without noise.
torch::Tensor answers_of_batch(const score::ScoreModel& model, const torch::Tensor& x,
                               const torch::Tensor& labels, const models::Conditions& given,
                               const std::vector<int64_t>& slots,
                               const EvaluationOptions& options) {
  const auto classify = score::noisy_classifier(model, given);
  const auto truth = labels.to(model.device);
  const auto offsets = uniform_for_slots({options.seed, RandomStream::evaluation_time, 0}, slots,
                                         {}, torch::kFloat64);
  const auto draws = static_cast<double>(options.time_samples);
  auto noisy = torch::zeros({x.size(0), 2}, torch::kFloat64);
  for (int64_t k = 0; k < options.time_samples; ++k) {
    const auto positions = (offsets + static_cast<double>(k)) / draws;
    const auto level = model.schedule->at(diffusion::uniform_times(*model.schedule, positions).t);
    const auto eps = diffusion::evaluation_noise(options.seed, k + 1, slots, x);
    noisy += answers(classify(diffusion::add_noise(x, eps, level), level), truth) / draws;
  }
  const auto level = model.schedule->at(model.schedule->t_min(), x.size(0));
  const auto clean = diffusion::add_noise(x, torch::zeros_like(x), level);
  return torch::cat({noisy, answers(classify(clean, level), truth).narrow(1, 1, 1)}, 1);
}

}  // namespace

ClassifierReport evaluate_classifier(const score::ScoreModel& classifier,
                                     data::ImageDataset& dataset, const EvaluationOptions& options,
                                     comm::Communicator& comm) {
  score::check_is_classifier(classifier);
  data::check_fit(score::expected_data(classifier), dataset, options.n);
  ClassifierReport report;
  report.n = options.n > 0 ? std::min(options.n, dataset.size()) : dataset.size();
  std::mutex reading;
  const auto rows =
      rows_over_ranks(comm, report.n, {3}, options.batch, [&](int64_t first, int64_t count) {
        const auto slots = slot_range(first, count);
        const data::Batch batch = [&] {
          const std::lock_guard lock(reading);
          return dataset.read(slots);
        }();
        const auto x = score::model_input(classifier, dataset, batch).x;
        return answers_of_batch(classifier, x, batch.labels,
                                score::told_of_batch(classifier, dataset, batch), slots, options);
      });
  const auto mean = rows.mean(0);
  report.cross_entropy = mean[0].item<double>();
  report.accuracy = mean[1].item<double>();
  report.accuracy_clean = mean[2].item<double>();
  return report;
}

nlohmann::ordered_json to_json(const ClassifierReport& report) {
  return {{"n", report.n},
          {"cross_entropy", report.cross_entropy},
          {"accuracy", report.accuracy},
          {"accuracy_clean", report.accuracy_clean}};
}

}  // namespace scorenet::evaluate
