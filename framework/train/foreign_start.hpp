// What a new run says of a network from elsewhere before its first step.
#pragma once

#include "framework/comm/communicator.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::train {

/// On rank zero, for a TorchScript network: its convention on the first examples of the data
/// (score/convention_check.hpp), and whether it has a buffer that its own training would change.
/// Doubts go to standard error. Does nothing for other networks. Collective. Throws ConfigError for
/// a convention that is wrong.
void try_foreign(const score::ScoreModel& model, data::ImageDataset& dataset,
                 comm::Communicator& comm);

}  // namespace scorenet::train
