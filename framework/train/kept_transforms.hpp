// The statistics of data.transforms belong to a run: measured at its first start, kept beside it,
// and never measured again, whatever becomes of the data.
//
// DIR/transforms.safetensors holds them under the names of TransformChain::state(), with the
// entries and the data set's fingerprint in its metadata. Snapshots hold them too.
#pragma once

#include <string>

#include "framework/comm/communicator.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/score/score_model.hpp"
#include "framework/train/run_folder.hpp"

namespace scorenet::train {

/// Gives the model's transforms the statistics that the run folder has, or measures them over
/// `dataset`: where the run has no checkpoint yet, those of other transforms or other data are
/// measured again. Collective. Throws CheckpointError where a run with checkpoints has lost them or
/// they are damaged, DataError as score::measure_transforms.
void settle_transforms(score::ScoreModel& model, data::ImageDataset& dataset,
                       const std::string& fingerprint, const RunFolder& folder,
                       comm::Communicator& comm);

/// Writes the file, where the model has statistics and the folder has other ones or none. Rank
/// zero's. Throws CheckpointError.
void keep_transforms(const score::ScoreModel& model, const std::string& fingerprint,
                     const RunFolder& folder);

}  // namespace scorenet::train
