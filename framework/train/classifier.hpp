// A trained classifier of noised data: to guide samples, as a source of features, and how good it is.
//
// What it is shown is x_t / sqrt(alpha^2 + sigma^2) and log_snr, so a classifier serves every schedule within the range of
// log-SNR that its own one covers.
#pragma once

#include <torch/types.h>

#include <nlohmann/json_fwd.hpp>

#include "framework/comm/communicator.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/diffusion/guidance.hpp"
#include "framework/train/evaluation.hpp"
#include "framework/train/score_model.hpp"

namespace scorenet::train {

/// Throws ConfigError naming the model and its type unless it is a classifier.
void check_is_classifier(const ScoreModel& model);

/// grad log p(label | x_t) for a batch of this size. REQUIRES a classifier that outlives the result.
diffusion::ClassGradient class_gradient_for(const ScoreModel& classifier, int64_t label,
                                            int64_t batch);

/// The log-SNR at which guidance is asked for.
struct LogSnrInterval {
  double low;
  double high;
};

/// Throws ConfigError unless `classifier` is one, knows `label`, takes examples of example_shape and was trained where
/// `model` is to be guided: on its schedule's range of log-SNR within `interval`.
void check_guides(const ScoreModel& classifier, const ScoreModel& model, int64_t label,
                  c10::IntArrayRef example_shape, const LogSnrInterval& interval);

/// Features of clean data: the penultimate layer at the least noise the classifier knows, none added. x: (B, ...) in [-1, 1]
/// (images) or the data's own units, any floating dtype. Returns (B, features) float32 on the CPU. Records no gradient. Throws
/// ConfigError if the model is no classifier, ShapeError if x does not fit it.
torch::Tensor classifier_features(const ScoreModel& classifier, const torch::Tensor& x);

/// Means over examples; noisy ones are at times uniform in t, options.time_samples an example.
struct ClassifierReport {
  int64_t n = 0;
  double cross_entropy = 0;   // nats, noised
  double accuracy = 0;        // noised
  double accuracy_clean = 0;  // without noise
};

/// Collective; equal for any rank count. Heeds n, seed, batch and time_samples of the options. Throws DataError where labels are
/// missing or beyond the classifier's classes.
ClassifierReport evaluate_classifier(const ScoreModel& classifier, data::ImageDataset& dataset,
                                     const EvaluationOptions& options, comm::Communicator& comm);

nlohmann::ordered_json to_json(const ClassifierReport& report);

}  // namespace scorenet::train
