// Metrics that compare samples of a model with data, as clouds of points.
#pragma once

#include <string>
#include <vector>

#include "framework/comm/communicator.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/evaluate/evaluation_options.hpp"
#include "framework/evaluate/evaluation_report.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::evaluate {

/// "w2", "fd", "kid" and "pr" are.
bool is_sample_metric(const std::string& name);

/// Compares the first n examples with as many samples of the model, in float64.
///
/// `options.samples` says which samples: read from its file `given`, or drawn once for all `names`
/// by its seeds, sampler and guidance. They are those that `sample` writes: of images the denoised
/// state (default_final), beside discrete data in its levels (as_stored) and in [-1, 1]. Continuous
/// data and its samples are in the file's units.
///
/// `w2`: the exact 2-Wasserstein distance, values "w2" and "w2_squared". The others compare the
/// features that `options.samples.features` names: `fd` the Frechet distance, to the moments of the
/// reference in place of the data's where one is given; `kid` the kernel distance, with
/// "kid_stderr"; `pr` "precision" and "recall" (k = 3).
///
/// Collective; the values are there on rank zero alone. Before any sample is drawn it throws
/// ConfigError where the n^2 distances would not fit into memory or features are missing, and as
/// make_feature_extractor; NotFiniteError if a sample is not finite.
std::vector<SampleMetricReport> evaluate_sample_metrics(const std::vector<std::string>& names,
                                                        const score::ScoreModel& model,
                                                        data::ImageDataset& dataset, int64_t n,
                                                        const EvaluationOptions& options,
                                                        comm::Communicator& comm);

/// Writes the moments of the features of the first n examples to options.samples.save_reference.
/// For rank zero alone. Throws ConfigError without features, and as make_feature_extractor.
void save_reference(data::ImageDataset& dataset, int64_t n, const EvaluationOptions& options,
                    torch::Device device);

}  // namespace scorenet::evaluate
