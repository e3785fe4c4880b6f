// The state between steps: averages, and what a checkpoint sees of it at any number of ranks.
#include "framework/train/update.hpp"

#include "tests/framework/train/sim_training.hpp"

namespace scorenet::train {
namespace {

TEST(Update, TheAverageFollowsItsDecay) {
  auto config = sim_config();
  config.ema.ramp_up = 0;
  on_ranks(1, [&](comm::Communicator& comm) {
    SimTraining training(config, comm);
    auto expected = training.parameters.values().clone();
    for (int64_t k = 0; k < 3; ++k) {
      training.run(k);
      expected = 0.5 * expected + 0.5 * training.parameters.values();
    }
    EXPECT_TRUE(torch::allclose(training.update.average(0), expected, 1e-6, 1e-7));
  });
}

// Name -> whole buffer, after two steps.
std::map<std::string, torch::Tensor> state_at(int ranks, const config::Config& config) {
  std::map<std::string, torch::Tensor> state;
  on_ranks(ranks, [&](comm::Communicator& comm) {
    SimTraining training(config, comm);
    for (int64_t k = 0; k < 2; ++k) training.run(k);
    for (const StateBuffer& buffer : training.update.buffers()) {
      const torch::Tensor whole = training.update.whole(buffer);
      std::vector<torch::Tensor> parts;  // the layout's padding is nobody's
      for (size_t i = 0; i < training.parameters.names().size(); ++i)
        parts.push_back(training.parameters.view_of(whole, i).detach().flatten().clone());
      if (comm.rank() == 0) state[buffer.prefix] = torch::cat(parts);
    }
  });
  return state;
}

TEST(Update, AShardedStateIsWholeAsThatOfOneRank) {
  auto sharded = sim_config();
  sharded.train.shard_optimizer = true;
  const auto one = state_at(1, sim_config()), four = state_at(4, sharded);
  ASSERT_GE(one.size(), 3u);  // two moments and an average
  ASSERT_EQ(one.size(), four.size());
  for (const auto& [name, values] : one)
    EXPECT_TRUE(torch::allclose(four.at(name), values, 1e-4, 1e-5)) << name;
}

TEST(Update, WhatIsKeptOfAWholeBufferIsWholeAgain) {
  auto config = sim_config();
  config.train.shard_optimizer = true;
  on_ranks(4, [&](comm::Communicator& comm) {
    SimTraining training(config, comm);
    EXPECT_TRUE(training.update.runs_on_device());  // ZeRO needs the host in no step
    const auto counted = torch::arange(training.parameters.values().numel(), torch::kFloat32);
    for (const StateBuffer& buffer : training.update.buffers()) {
      training.update.keep(buffer, counted);
      EXPECT_TRUE(torch::equal(training.update.whole(buffer), counted)) << buffer.prefix;
    }
  });
}

}  // namespace
}  // namespace scorenet::train
