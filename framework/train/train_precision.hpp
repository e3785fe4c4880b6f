// The precision of training: train.precision, and what auto chooses for the given ranks.
//
// auto stays in the config, so a run or snapshot is fast on another machine too. The choice is
// recorded in the start block, in the checkpoints' state.json and in the snapshots' metadata.
// Weights are always float32.
#pragma once

#include <torch/types.h>

#include <string>

#include "framework/comm/communicator.hpp"
#include "framework/config/config.hpp"

namespace scorenet::train {

/// "fp32", "bf16" or "fp16" as the config says. auto: bf16 if every rank's device computes it
/// natively and the network is not an mlp, whose products are too small to gain; else fp32.
/// Collective.
std::string settled_precision(const config::Config& config, torch::Device device,
                              comm::Communicator& comm);

/// "fp32 (auto; CPU NAME has no bf16 arithmetic)", "bf16; this CPU has no ...": for the start
/// block. asked: of the config.
std::string describe_precision(const std::string& asked, const std::string& settled,
                               torch::Device device);

}  // namespace scorenet::train
