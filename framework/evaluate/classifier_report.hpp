// How good a classifier of noised data is on a split.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "framework/comm/communicator.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/evaluate/evaluation_options.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::evaluate {

/// Means over examples; noisy ones are at times uniform in t, options.time_samples an example.
struct ClassifierReport {
  int64_t n = 0;
  double cross_entropy = 0;   // nats, noised
  double accuracy = 0;        // noised
  double accuracy_clean = 0;  // without noise
};

/// Collective; equal for any rank count. Heeds n, seed, batch and time_samples of the options.
/// Throws DataError where labels are missing or beyond the classifier's classes.
ClassifierReport evaluate_classifier(const score::ScoreModel& classifier,
                                     data::ImageDataset& dataset, const EvaluationOptions& options,
                                     comm::Communicator& comm);

nlohmann::ordered_json to_json(const ClassifierReport& report);

}  // namespace scorenet::evaluate
