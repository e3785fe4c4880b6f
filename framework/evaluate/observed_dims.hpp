// Likelihoods of examples of which values are missing: of the values that are there, and of no
// other dimension.
//
// Examples that miss the same values are computed together, as points in the space of the rest. The
// network still sees whole examples, with 0 for what is missing, as in training.
#pragma once

#include <torch/types.h>

#include "framework/data/image_dataset.hpp"
#include "framework/evaluate/metric.hpp"
#include "framework/evaluate/result_rows.hpp"
#include "framework/transform/transform_chain.hpp"

namespace scorenet::evaluate {

/// Estimates of the values at `places` (D', of an example's, the last axis fastest) alone: the
/// denoiser returned takes and gives (B, D').
diffusion::Denoiser at_places(diffusion::Denoiser whole, torch::Tensor places,
                              std::vector<int64_t> example_shape);

/// The rows of a batch (rows_over_ranks.hpp), whose examples the model is told `given` of: (B,
/// results, width). `values.observed` may be undefined. Throws DataError for an example that has no
/// value at all; where: of the data, for that sentence.
torch::Tensor rows_of_batch(const Metric& metric, const ResultRows& layout,
                            const score::ScoreModel& model, const models::Conditions& given,
                            const data::Batch& batch, const transform::NetworkValues& values,
                            const std::string& where);

}  // namespace scorenet::evaluate
