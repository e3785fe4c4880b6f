// Likelihoods of a data set under a model, and comparisons of its samples with the data: one
// function for the trainer, the evaluate verb and tests.
//
// Each metric computes -log p of a batch of examples; this file deals batches to the ranks, brings
// the examples together and averages once, so the numbers are the same for any rank count. No
// collective runs while examples are computed.
#pragma once

#include "framework/comm/communicator.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/evaluate/evaluation_options.hpp"
#include "framework/evaluate/evaluation_report.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::evaluate {

/// Collective over `comm`. Throws ConfigError for an unknown metric (listing the known)
/// or one that cannot be computed as asked, ShapeError or DataError if data and model do
/// not fit (data/fit.hpp).
EvaluationReport evaluate(const score::ScoreModel& model, data::ImageDataset& dataset,
                          const EvaluationOptions& options, comm::Communicator& comm);

}  // namespace scorenet::evaluate
