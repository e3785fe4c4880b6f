// From a data set's examples to what a model computes with: levels scaled to [-1, 1], real numbers
// through data.transforms.
#pragma once

#include "framework/comm/communicator.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/score/score_model.hpp"
#include "framework/transform/transform_chain.hpp"

namespace scorenet::score {

/// How the data of a model is read.
data::DatasetOptions dataset_options(const config::Config& config);
/// The same where rank zero inspects the files for all ranks: opening the data set and computing
/// its summary are then collective.
data::DatasetOptions dataset_options(const config::Config& config, comm::Communicator& comm);

/// Throws ConfigError where data.transforms are asked of discrete data.
void check_transforms(const ScoreModel& model, const data::ImageDataset& dataset);

/// Measures the statistics of transforms that the model lacks, those of conditions too, over
/// `dataset`: the training split. Collective. Throws DataError, as transform::measure_statistics.
void measure_transforms(ScoreModel& model, data::ImageDataset& dataset, comm::Communicator& comm);

/// Some examples as the model sees them, on its device: float64 for an analytic model, else
/// float32. log_det is undefined without transforms and missing values. Throws DataError naming a
/// value that a transform cannot take.
transform::NetworkValues model_input(const ScoreModel& model, const data::ImageDataset& dataset,
                                     const data::Batch& batch);

/// What a model generates, (B, ...) of its own values, in the units of the file: float64 on the
/// CPU. As it stands without transforms. conditions: of these samples, as files hold them; those
/// that data.transforms divide by are needed. Throws ConfigError where one is not there.
torch::Tensor file_values(const ScoreModel& model, const torch::Tensor& x,
                          const data::ConditionValues& conditions = {});

/// The same for a picture, in [-1, 1]: the range of the training data where there are transforms,
/// else as it stands. What is not finite is 0.
torch::Tensor picture_values(const ScoreModel& model, const torch::Tensor& x,
                             const data::ConditionValues& conditions = {});

}  // namespace scorenet::score
