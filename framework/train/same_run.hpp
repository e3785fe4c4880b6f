// Checks that all ranks train the same model on the same data, before the first collective
// that moves data.
#pragma once

#include <torch/types.h>

#include <string>

#include "framework/comm/communicator.hpp"
#include "framework/score/score_model.hpp"

namespace scorenet::train {

/// Returns `model` if program, config, data set and initial weights are those of rank zero.
/// Collective. Throws ConfigError naming the first key that differs, both values and the rank.
score::ScoreModel same_on_all_ranks(score::ScoreModel model, const std::string& data_fingerprint,
                                    comm::Communicator& comm);

}  // namespace scorenet::train
