// Likelihoods of a data set under a model, and comparisons of its samples with the data: one
// function for the trainer, the evaluate verb and tests.
//
// Each metric computes -log p of a batch of examples. This file gives batches to the ranks, gathers
// the examples' values and averages once, so the numbers are the same for any rank count. No
// collective runs while examples are computed.
#pragma once

#include "framework/comm/communicator.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/diffusion/variational_bound.hpp"
#include "framework/evaluate/evaluation_options.hpp"
#include "framework/evaluate/evaluation_report.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::evaluate {

/// The decoder of this name (decoder_choices) for data of so many levels (0: continuous data).
/// Throws ConfigError for one that does not suit the data.
diffusion::Decoder decoder_for(const std::string& name, int64_t levels);

/// Collective over `comm`. Throws ConfigError for a metric that is unknown (the message lists the
/// known ones) or cannot be computed as asked. Throws ShapeError or DataError if data and model do
/// not fit (data/fit.hpp).
EvaluationReport evaluate(const score::ScoreModel& model, data::ImageDataset& dataset,
                          const EvaluationOptions& options, comm::Communicator& comm);

}  // namespace scorenet::evaluate
