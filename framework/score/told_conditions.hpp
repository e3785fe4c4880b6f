// What the network of a model is told of samples (models/conditions.hpp), from what files hold
// under [condition.NAME].
//
// Conditions stand in the order of their names. Vectors are joined; fields are laid on the samples'
// grid, each place as often as the grid is finer, and stacked as channels. Earlier samples without
// transforms of their own take those of the data, statistics included.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "framework/data/image_dataset.hpp"
#include "framework/score/score_model.hpp"
#include "models/conditions.hpp"
#include "models/options.hpp"

namespace scorenet::score {

/// Where the values of a condition come from, for messages; and the samples they are of.
struct ConditionOrigin {
  std::function<std::string(const std::string& name)> where;
  const std::vector<int64_t>& indices;
};

/// The sizes that the network of this config is made for. Throws ConfigError where the shape of a
/// condition is not known yet.
models::ConditionSizes condition_sizes(const config::Config& config);

/// Their transforms, without statistics, by name.
std::map<std::string, transform::ConditionChain> condition_chains(const config::Config& config);

/// Fills condition.NAME.shape from the data. Throws ConfigError where the config says another.
void take_condition_shapes(config::Config& config, const data::ImageDataset& dataset);

/// float32 on the CPU, without labels and told; undefined parts where the model has none of them.
/// Throws DataError naming a value that a transform cannot take.
models::Conditions told_conditions(const ScoreModel& model, const data::ConditionValues& values,
                                   const ConditionOrigin& origin);

/// What the model is told of a batch of a data set, the labels with it, where it knows classes.
models::Conditions told_of_batch(const ScoreModel& model, const data::ImageDataset& dataset,
                                 const data::Batch& batch);

/// That nothing is told, for `batch` examples: the label behind the last, and no other condition.
models::Conditions told_nothing(const ScoreModel& model, int64_t batch);

/// What data.transforms divide by. REQUIRES the conditions that they name among `values`.
transform::Conditions divisors(const ScoreModel& model, const data::ConditionValues& values);

/// "condition.NAME.": how the names of a condition's statistics begin.
std::string statistics_prefix(const std::string& name);

/// What files keep beside the weights, by name: the statistics of data.transforms, those of
/// conditions ("condition.NAME.transform.0.mean"), and the archive of a TorchScript network
/// (foreign_network.hpp).
std::vector<std::pair<std::string, torch::Tensor>> statistics_of(const ScoreModel& model);
/// Takes them from there. Throws CheckpointError beginning with `where`.
void restore_statistics(ScoreModel& model, const std::map<std::string, torch::Tensor>& state,
                        const std::string& where);
/// Whether some are to be measured still.
bool lacks_statistics(const ScoreModel& model);
/// Whether a tensor of this name is one of these and no weight.
bool is_statistic(const std::string& name);

}  // namespace scorenet::score
