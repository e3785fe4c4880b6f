// What training computes in: train.precision, and what auto makes of it on the ranks at hand.
//
// auto stays in the config, so a run or snapshot goes to another machine and is fast there too;
// what it chose stands in the start block, in the checkpoints' state.json and in the snapshots'
// metadata. Weights are float32 throughout.
#pragma once

#include <torch/types.h>

#include <string>

#include "framework/comm/communicator.hpp"
#include "framework/config/config.hpp"

namespace scorenet::train {

/// "fp32", "bf16" or "fp16": the config's own; for auto bf16 where every rank's device computes it
/// natively and the network is no mlp, whose products are too small to gain, else fp32. Collective.
std::string settled_precision(const config::Config& config, torch::Device device,
                              comm::Communicator& comm);

/// "fp32 (auto; CPU NAME has no bf16 arithmetic)", "bf16; this CPU has no ...": for the start
/// block. asked: of the config.
std::string describe_precision(const std::string& asked, const std::string& settled,
                               torch::Device device);

}  // namespace scorenet::train
