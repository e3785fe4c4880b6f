#include "framework/train/classifier.hpp"

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/core/pixels.hpp"
#include "framework/diffusion/likelihood/diffusion_term.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/train/batches_over_ranks.hpp"

namespace scorenet::train {
namespace {

constexpr double kSlack = 0.5;  // nats of log-SNR that a network extrapolates without harm

diffusion::NoisyClassifier noisy_classifier(const ScoreModel& classifier) {
  return diffusion::scaled_classifier(network_for(classifier, {}, nullptr));
}

// nats and 1 for a right answer, (B, 2) float64.
torch::Tensor answers(const torch::Tensor& logits, const torch::Tensor& labels) {
  const auto nats = torch::cross_entropy_loss(logits, labels, {}, at::Reduction::None);
  const auto right = logits.argmax(1).eq(labels);
  return torch::stack({nats.to(torch::kFloat64), right.to(torch::kFloat64)}, 1).to(torch::kCPU);
}

// (B, 3): nats and accuracy over the noisy draws, accuracy without noise.
torch::Tensor answers_of_batch(const ScoreModel& model, const torch::Tensor& x,
                               const torch::Tensor& labels, const std::vector<int64_t>& slots,
                               const EvaluationOptions& options) {
  const auto classify = noisy_classifier(model);
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

void check_is_classifier(const ScoreModel& model) {
  if (model.classifier) return;
  throw ConfigError(model.name + ": model.type = " + model.config.model.type +
                    " is no classifier. Train one with model.type = classifier.");
}

diffusion::ClassGradient class_gradient_for(const ScoreModel& classifier, int64_t label,
                                            int64_t batch) {
  const auto labels =
      torch::full({batch}, label, torch::TensorOptions(torch::kInt64).device(classifier.device));
  return diffusion::class_gradient(noisy_classifier(classifier), labels);
}

void check_guides(const ScoreModel& classifier, const ScoreModel& model, int64_t label,
                  c10::IntArrayRef example_shape, const LogSnrInterval& interval) {
  check_is_classifier(classifier);
  const std::string who = "--classifier " + classifier.name;
  const int64_t classes = classifier.config.model.num_classes;
  if (label < 0)
    throw ConfigError(who + ": needs --class, 0 to " + std::to_string(classes - 1) + ".");
  if (label >= classes) {
    throw ConfigError("--class " + std::to_string(label) + ": the classifier knows " +
                      std::to_string(classes) + " classes, 0 to " + std::to_string(classes - 1) +
                      ".");
  }
  if (c10::IntArrayRef(classifier.example_shape) != example_shape) {
    throw ConfigError(who + ": classifies examples of shape " +
                      shape_string(classifier.example_shape) + ", but " + model.name + " makes " +
                      shape_string(example_shape) + ". Train it on data of that shape.");
  }
  const auto known = diffusion::log_snr_range(*classifier.schedule);
  const auto all = diffusion::log_snr_range(*model.schedule);
  const double low = std::max(all.noisy, interval.low), high = std::min(all.clean, interval.high);
  if (low >= known.noisy - kSlack && high <= known.clean + kSlack) return;
  std::ostringstream sentence;
  sentence << who << ": was trained at log-SNR " << known.noisy << " to " << known.clean << ", but "
           << model.name << " is to be guided at " << low << " to " << high
           << ". Give a --guidance-interval within the first, or train it on a schedule that "
              "covers the second.";
  throw ConfigError(sentence.str());
}

torch::Tensor classifier_features(const ScoreModel& classifier, const torch::Tensor& x) {
  check_is_classifier(classifier);
  if (x.dim() < 1 || x.sizes().slice(1) != c10::IntArrayRef(classifier.example_shape)) {
    throw ShapeError(classifier.name + ": features of examples of shape " +
                     shape_string(classifier.example_shape) + ", but got a batch of shape " +
                     shape_string(x.sizes()) + ".");
  }
  const torch::NoGradGuard no_grad;
  const diffusion::Network features = [&](const torch::Tensor& scaled,
                                          const torch::Tensor& log_snr) {
    models::NetworkInput input;
    input.x = scaled;
    input.log_snr = log_snr;
    return classifier.classifier->features(input);
  };
  const auto level = classifier.schedule->at(classifier.schedule->t_min(), x.size(0));
  const auto here = x.to(classifier.device, torch::kFloat32);
  return diffusion::scaled_classifier(features)(
             diffusion::add_noise(here, torch::zeros_like(here), level), level)
      .to(torch::kCPU, torch::kFloat32);
}

ClassifierReport evaluate_classifier(const ScoreModel& classifier, data::ImageDataset& dataset,
                                     const EvaluationOptions& options, comm::Communicator& comm) {
  check_is_classifier(classifier);
  data::check_fit(expected_data(classifier), dataset, options.n);
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
        const auto x = in_model_range(batch.examples.to(classifier.device)).to(torch::kFloat32);
        return answers_of_batch(classifier, x, batch.labels, slots, options);
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

}  // namespace scorenet::train
