// Metrics that compare samples of a model with data, as clouds of points.
#pragma once

#include "framework/comm/communicator.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/train/evaluation.hpp"

namespace scorenet::train {

/// "w2" is one.
bool is_sample_metric(const std::string& name);

/// `w2`: the exact 2-Wasserstein distance between the first n examples and as many samples of the model, drawn as
/// options.sampler says; values "w2" and "w2_squared", on rank zero (elsewhere NaN). 8-bit data is compared in [-1, 1].
/// Collective. Throws ConfigError where n is so large that the n^2 costs would not fit into memory.
SampleMetricReport evaluate_sample_metric(const std::string& name, const ScoreModel& model,
                                          data::ImageDataset& dataset, int64_t n,
                                          const EvaluationOptions& options,
                                          comm::Communicator& comm);

}  // namespace scorenet::train
