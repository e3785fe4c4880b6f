// A training in miniature on simulated ranks: an mlp on points of the plane, without files and MPI.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "framework/comm/sim_communicator.hpp"
#include "framework/config/parse.hpp"
#include "framework/core/random.hpp"
#include "framework/data/shard.hpp"
#include "framework/train/learner.hpp"

namespace scorenet::train {

/// The config of such a run, with further TOML behind it.
inline config::Config sim_config(const std::string& more = "") {
  return config::parse_text(
      "[model]\ntype = \"mlp\"\nhidden = [6, 5]\n"
      "[train]\nbatch_size = 8\nsteps = 100\nwarmup_steps = 1\nlearning_rate = 0.01\nprecision = "
      "\"fp32\"\n"
      "[ema]\ndecays = [0.5]\n" +
          more,
      "sim_config");
}

/// A communicator as the trainer's parts take it; it stays its owner's.
struct Borrowed {
  explicit Borrowed(comm::Communicator& comm) {
    comms.host.reset(&comm);
    comms.vitals = std::make_shared<comm::Vitals>();
  }
  ~Borrowed() { (void)comms.host.release(); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  comm::Communicators comms;
};

/// What the trainer has of a run, on one simulated rank.
class SimTraining : private Borrowed, public Learner {
 public:
  using Borrowed::comms;

  SimTraining(const config::Config& config, comm::Communicator& comm)
      : Borrowed(comm),
        Learner(score::build_model(config, {2}, torch::kCPU), /*levels=*/0, comms) {}

  /// This rank's share of step `k`, of examples that are a function of k and their place; the one
  /// in slot `huge` is a thousand times as large.
  StepReport run(int64_t k, int64_t huge = -1, const Wishes& wishes = {}) {
    const int64_t batch = model.config.train.batch_size;
    data::LoadedBatch loaded;
    loaded.step = k;
    loaded.slots = data::shard(batch, comms.host->rank(), comms.host->size());
    loaded.batch.indices = slot_range(loaded.slots.begin, loaded.slots.size());
    loaded.batch.examples =
        torch::sin(torch::arange(2 * batch, torch::kFloat64) + static_cast<double>(k))
            .view({batch, 2})
            .narrow(0, loaded.slots.begin, loaded.slots.size());
    if (huge >= loaded.slots.begin && huge < loaded.slots.begin + loaded.slots.size())
      loaded.batch.examples[huge - loaded.slots.begin].mul_(1000);
    return step->run(loaded, k, wishes).value();
  }

  torch::Tensor weights() const {
    std::vector<torch::Tensor> all;
    for (const auto& [name, tensor] : score::named_parameters(model))
      all.push_back(tensor.detach().flatten());
    return torch::cat(all);
  }
};

/// Calls `program` on every one of `ranks` threads; a failure of any is the test's.
inline void on_ranks(int ranks, const std::function<void(comm::Communicator&)>& program) {
  EXPECT_THAT(comm::run_simulated(ranks, {}, program), testing::Each(testing::IsEmpty()))
      << ranks << " ranks";
}

/// Rank zero's weights after some steps of the config on so many ranks.
inline torch::Tensor weights_after(int64_t steps, int ranks, const config::Config& config) {
  torch::Tensor weights;
  on_ranks(ranks, [&](comm::Communicator& comm) {
    SimTraining training(config, comm);
    for (int64_t k = 0; k < steps; ++k) training.run(k);
    if (comm.rank() == 0) weights = training.weights();
  });
  return weights;
}

}  // namespace scorenet::train
