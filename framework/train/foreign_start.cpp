#include "framework/train/foreign_start.hpp"

#include <algorithm>
#include <iostream>

#include "framework/comm/on_rank_zero.hpp"
#include "framework/core/random.hpp"
#include "framework/score/convention_check.hpp"
#include "framework/score/foreign_network.hpp"
#include "framework/score/model_input.hpp"
#include "framework/score/told_conditions.hpp"

namespace scorenet::train {
namespace {

std::string notes(const score::ScoreModel& model, data::ImageDataset& dataset) {
  const int64_t count = std::min(dataset.size(), score::examples_to_judge(dataset.example_shape()));
  const data::Batch batch = dataset.read(slot_range(0, count));
  const auto given = score::told_of_batch(model, dataset, batch);
  const torch::Tensor x0 = score::model_input(model, dataset, batch).x;
  std::string text;
  const std::string doubt = score::heed_convention(model, x0, given);
  if (!doubt.empty()) text += "note: " + doubt + "\n";
  const std::string buffer = model.trained().foreign->changed_by_training(x0, given);
  if (!buffer.empty()) {
    text += "note: " + model.trained().foreign->where() + ": its buffer " + buffer +
            " would change in its own training; here it keeps what the file says, since the "
            "network runs in evaluation mode.\n";
  }
  return text;
}

}  // namespace

void try_foreign(const score::ScoreModel& model, data::ImageDataset& dataset,
                 comm::Communicator& comm) {
  if (!model.trained().foreign) return;
  const std::string text =
      comm::on_rank_zero(comm, [&] { return notes(model, dataset); }, "convention of the network");
  if (comm.rank() == 0) std::cerr << text << std::flush;
}

}  // namespace scorenet::train
