#include "framework/score/classifier.hpp"

#include <algorithm>
#include <sstream>

#include "framework/core/check.hpp"
#include "framework/diffusion/loss.hpp"
#include "models/classifier.hpp"

namespace scorenet::score {
namespace {

constexpr double kSlack = 0.5;  // nats of log-SNR that a network extrapolates without harm

}  // namespace

diffusion::NoisyClassifier noisy_classifier(const ScoreModel& classifier,
                                            const models::Conditions& given) {
  return diffusion::scaled_classifier(network_for(classifier, given, nullptr));
}

void check_is_classifier(const ScoreModel& model) {
  if (model.is_classifier()) return;
  throw ConfigError(model.name + ": model.type = " + model.config.model.type +
                    " is no classifier. Train one with model.type = classifier.");
}

diffusion::ClassGradient class_gradient_for(const ScoreModel& classifier,
                                            const torch::Tensor& labels,
                                            const models::Conditions& given) {
  return diffusion::class_gradient(noisy_classifier(classifier, given),
                                   labels.to(classifier.device));
}

void check_guides(const ScoreModel& classifier, const ScoreModel& model,
                  const std::vector<int64_t>& labels, c10::IntArrayRef example_shape,
                  const LogSnrInterval& interval) {
  check_is_classifier(classifier);
  const std::string who = "--classifier " + classifier.name;
  const int64_t classes = classifier.config.model.num_classes;
  if (labels.empty())
    throw ConfigError(who + ": needs --class, 0 to " + std::to_string(classes - 1) + ".");
  for (const int64_t label : labels) {
    if (label >= 0 && label < classes) continue;
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
    return classifier.trained().classifier->features(input);
  };
  const auto level = classifier.schedule->at(classifier.schedule->t_min(), x.size(0));
  const auto here = x.to(classifier.device, torch::kFloat32);
  return diffusion::scaled_classifier(features)(
             diffusion::add_noise(here, torch::zeros_like(here), level), level)
      .to(torch::kCPU, torch::kFloat32);
}

}  // namespace scorenet::score
