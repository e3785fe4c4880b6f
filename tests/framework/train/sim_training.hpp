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
#include "framework/train/train_step.hpp"

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

/// What the trainer has of a run, on one simulated rank.
class SimTraining {
 public:
  SimTraining(const config::Config& config, comm::Communicator& comm)
      : comms_(comm),
        model(score::build_model(config, {2}, torch::kCPU)),
        plan(plan_gradients(model, {2}, comms_.all)),
        parameters(score::named_parameters(model), plan.layout),
        objective(model, false),
        update(config, parameters, plan, comms_.all),
        step(model, objective, update, comm) {}

  /// This rank's share of step `k`, of examples that are a function of k and their place.
  StepReport run(int64_t k) {
    const comm::Communicator& comm = *comms_.all.host;
    const int64_t batch = model.config.train.batch_size;
    data::LoadedBatch loaded;
    loaded.step = k;
    loaded.slots = data::shard(batch, comm.rank(), comm.size());
    loaded.batch.indices = slot_range(loaded.slots.begin, loaded.slots.size());
    loaded.batch.examples =
        torch::sin(torch::arange(2 * batch, torch::kFloat64) + static_cast<double>(k))
            .view({batch, 2})
            .narrow(0, loaded.slots.begin, loaded.slots.size());
    return step.run(loaded, k, false);
  }

  torch::Tensor weights() const {
    std::vector<torch::Tensor> all;
    for (const auto& [name, tensor] : score::named_parameters(model))
      all.push_back(tensor.detach().flatten());
    return torch::cat(all);
  }

 private:
  // The communicator stays its owner's.
  struct Borrowed {
    explicit Borrowed(comm::Communicator& comm) {
      all.host.reset(&comm);
      all.vitals = std::make_shared<comm::Vitals>();
    }
    ~Borrowed() { (void)all.host.release(); }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    comm::Communicators all;
  };
  Borrowed comms_;

 public:
  score::ScoreModel model;
  GradientPlan plan;
  optim::FlatParameters parameters;
  Objective objective;
  Update update;
  TrainStep step;
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
