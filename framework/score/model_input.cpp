#include "framework/score/model_input.hpp"

#include <charconv>

#include "framework/comm/on_rank_zero.hpp"
#include "framework/core/error.hpp"
#include "framework/core/pixels.hpp"
#include "framework/core/random.hpp"
#include "framework/score/told_conditions.hpp"
#include "framework/transform/statistics.hpp"

namespace scorenet::score {

data::DatasetOptions dataset_options(const config::Config& whole) {
  const config::DataConfig& config = whole.data;
  data::DatasetOptions options;
  options.conditions = whole.conditions;
  options.labels = config.labels;
  options.cached_blocks = 2 * config.shuffle_window;
  options.levels = config.levels;
  if (config.missing.empty()) return options;
  double mark = 0;
  std::from_chars(config.missing.data(), config.missing.data() + config.missing.size(), mark);
  options.missing = mark;
  return options;
}

data::DatasetOptions dataset_options(const config::Config& config, comm::Communicator& comm) {
  data::DatasetOptions options = dataset_options(config);
  if (comm.size() > 1) {
    options.on_one_rank = [&comm](const std::function<std::string()>& look) {
      return comm::on_rank_zero(comm, look, "look at the data");
    };
  }
  return options;
}

void check_transforms(const ScoreModel& model, const data::ImageDataset& dataset) {
  if (model.transforms.is_plain() || dataset.levels() == 0) return;
  throw ConfigError(
      std::string(model.transforms.empty() ? "data.missing" : "data.transforms") + ": " +
      dataset.where() + " holds data of " + std::to_string(dataset.levels()) +
      " levels, which are scaled to [-1, 1]. Set data.levels = 0 to use them as real numbers, or "
      "leave the key out.");
}

void measure_transforms(ScoreModel& model, data::ImageDataset& dataset, comm::Communicator& comm) {
  const transform::Ranks ranks{
      comm.rank(), comm.size(), [&comm](torch::Tensor& values, int root) {
        comm.broadcast({values.data_ptr(), values.numel(), comm::DataType::float64}, root,
                       "statistics of the data")
            .wait();
      }};
  transform::Split split{dataset.size(), dataset.example_shape(), dataset.where(),
                         [&dataset](int64_t first, int64_t count) {
                           return dataset.read(slot_range(first, count)).examples;
                         }};
  if (model.transforms.needs_conditions()) {
    split.conditions = [&](int64_t first, int64_t count) {
      return divisors(model, dataset.read_conditions(slot_range(first, count)));
    };
  }
  transform::measure_statistics(model.transforms, split, ranks);
  for (auto& told : model.conditions) {
    const std::string& name = told.first;
    const transform::Split values{
        dataset.size(), dataset.condition_shape(name), dataset.condition_where(name),
        [&dataset, &name](int64_t first, int64_t count) {
          return dataset.read_conditions(slot_range(first, count)).at(name);
        }};
    transform::measure_statistics(told.second.chain(), values, ranks);
  }
}

transform::NetworkValues model_input(const ScoreModel& model, const data::ImageDataset& dataset,
                                     const data::Batch& batch) {
  const torch::Dtype dtype = model.is_analytic() ? torch::kFloat64 : torch::kFloat32;
  if (model.transforms.is_plain()) {
    const auto examples = batch.examples.to(model.device);
    return {in_model_range(examples, dataset.levels()).to(dtype), {}, {}};
  }
  auto values = model.transforms.forward(batch.examples, {dataset.where(), batch.indices},
                                         divisors(model, batch.conditions));
  values.x = values.x.to(model.device, dtype);
  return values;
}

torch::Tensor file_values(const ScoreModel& model, const torch::Tensor& x,
                          const data::ConditionValues& conditions) {
  return model.transforms.empty() ? x : model.transforms.inverse(x, divisors(model, conditions));
}

torch::Tensor picture_values(const ScoreModel& model, const torch::Tensor& x,
                             const data::ConditionValues& conditions) {
  torch::Tensor values = file_values(model, x, conditions);
  if (!model.transforms.empty() && model.traits.range) {
    const auto [least, greatest] = *model.traits.range;
    const double width = greatest > least ? greatest - least : 1;
    values = (values - least) * (2 / width) - 1;
  }
  return values.nan_to_num(0, 1, -1);
}

}  // namespace scorenet::score
