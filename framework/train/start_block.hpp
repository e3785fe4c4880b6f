// The text that --dry-run prints and that begins a log.
#pragma once

#include <filesystem>
#include <string>

#include "framework/comm/make_communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/train/checkpoint_state.hpp"
#include "framework/train/learner.hpp"

namespace scorenet::train {

/// One line for each subject: data, network, ranks, precision, ... On rank zero. first_weights:
/// FirstWeights::lines.
std::string start_block(const config::Config& config, const std::filesystem::path& outdir,
                        const data::ImageDataset& dataset, const data::DatasetSummary& summary,
                        const Learner& learner, const RunProgress& progress,
                        const comm::Communicator& comm, const std::string& first_weights = "");

}  // namespace scorenet::train
