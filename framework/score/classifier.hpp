// A trained classifier of noised data: it guides samples and gives features.
//
// Its input is x_t / sqrt(alpha^2 + sigma^2) and log_snr. So a classifier works under every
// schedule, within the range of log-SNR of the schedule that it was trained under.
#pragma once

#include <torch/types.h>

#include <vector>

#include "framework/diffusion/guidance.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::score {

/// Throws ConfigError naming the model and its type unless it is a classifier.
void check_is_classifier(const ScoreModel& model);

/// grad log p(label | x_t, given). labels: (B) int64, of every batch's rows. REQUIRES a classifier
/// that outlives the result.
diffusion::ClassGradient class_gradient_for(const ScoreModel& classifier,
                                            const torch::Tensor& labels,
                                            const models::Conditions& given = {});

/// The classifier as a function of noised data: (x_t, level) -> logits (B, classes). given: what it
/// is told, without labels. REQUIRES a classifier that outlives the result.
diffusion::NoisyClassifier noisy_classifier(const ScoreModel& classifier,
                                            const models::Conditions& given = {});

/// The log-SNR at which guidance is asked for.
struct LogSnrInterval {
  double low;
  double high;
};

/// Throws ConfigError unless `classifier` is a classifier, knows all of `labels` (at least one),
/// takes examples of example_shape, and was trained on the log-SNRs at which it guides `model`:
/// those of the model's schedule within `interval`.
void check_guides(const ScoreModel& classifier, const ScoreModel& model,
                  const std::vector<int64_t>& labels, c10::IntArrayRef example_shape,
                  const LogSnrInterval& interval);

/// Features of clean data: the penultimate layer at the least noise the classifier knows, none
/// added. x: (B, ...) in [-1, 1] (images) or the data's own units, any floating dtype. Returns
/// (B, features) float32 on the CPU. Records no gradient. Throws ConfigError if the model is no
/// classifier, ShapeError if x does not fit it.
torch::Tensor classifier_features(const ScoreModel& classifier, const torch::Tensor& x);

}  // namespace scorenet::score
