// What --dry-run prints, and what stands at the head of a log.
#pragma once

#include <filesystem>
#include <string>

#include "framework/comm/make_communicator.hpp"
#include "framework/config/config.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/train/checkpoint_state.hpp"
#include "framework/train/learner.hpp"

namespace scorenet::train {

/// A line a subject: data, network, ranks, precision, ... Rank zero's view.
std::string start_block(const config::Config& config, const std::filesystem::path& outdir,
                        const data::ImageDataset& dataset, const data::DatasetSummary& summary,
                        const Learner& learner, const RunProgress& progress,
                        const comm::Communicator& comm);

}  // namespace scorenet::train
