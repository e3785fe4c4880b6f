// k steps, save, restore, k steps are 2 k steps: also on other ranks, also sharded.
#include "framework/train/checkpoint_state.hpp"

#include "tests/framework/train/sim_training.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::train {
namespace {

constexpr int64_t kSteps = 2;

class CheckpointState : public testing::Test {
 protected:
  TrainState state_of(SimTraining& training) const {
    return {training.parameters, training.update, training.objective, training.spikes, data_};
  }
  // Steps from nothing to kSteps, then a checkpoint.
  void save_on(int ranks, const config::Config& config) const {
    on_ranks(ranks, [&](comm::Communicator& comm) {
      SimTraining training(config, comm);
      for (int64_t k = 0; k < kSteps; ++k) training.run(k);
      RunProgress progress;
      progress.step = kSteps;
      save_checkpoint(run_.checkpoints(), config, state_of(training), progress, comm);
    });
  }
  // The weights after kSteps more from what is stored.
  torch::Tensor goes_on(int ranks, const config::Config& config) const {
    torch::Tensor weights;
    on_ranks(ranks, [&](comm::Communicator& comm) {
      SimTraining training(config, comm);
      const RunProgress progress = restore_checkpoint(run_, config, state_of(training), comm);
      EXPECT_EQ(progress.step, kSteps);
      for (int64_t k = kSteps; k < 2 * kSteps; ++k) training.run(k);
      if (comm.rank() == 0) weights = training.weights();
    });
    return weights;
  }

  test::TemporaryFolder folder_{test::memory_or_disk()};
  RunFolder run_{folder_.path() / "run"};
  data::DatasetSummary data_{"0123", data::DataKind::continuous, {}, "points"};
};

TEST_F(CheckpointState, ARunGoesOnBitForBit) {
  const auto config = sim_config();
  run_.create();
  save_on(1, config);
  EXPECT_TRUE(torch::equal(goes_on(1, config), weights_after(2 * kSteps, 1, config)));
}

TEST_F(CheckpointState, WhatOneRankSavedFourTakeUpAndTheOtherWayRound) {
  auto sharded = sim_config();
  sharded.train.shard_optimizer = true;
  const auto expected = weights_after(2 * kSteps, 1, sim_config());
  run_.create();
  save_on(4, sharded);
  EXPECT_TRUE(torch::allclose(goes_on(1, sharded), expected, 1e-3, 1e-4));
  EXPECT_TRUE(torch::allclose(goes_on(2, sharded), expected, 1e-3, 1e-4));
}

TEST_F(CheckpointState, OtherDataAreRefused) {
  const auto config = sim_config();
  run_.create();
  save_on(1, config);
  data_.fingerprint = "4567";
  const auto errors = comm::run_simulated(1, {}, [&](comm::Communicator& comm) {
    SimTraining training(config, comm);
    EXPECT_ERROR(restore_checkpoint(run_, config, state_of(training), comm), DataError, "0123",
                 "4567");
  });
  EXPECT_THAT(errors, testing::Each(testing::IsEmpty()));
}

TEST_F(CheckpointState, WithoutACheckpointNothingChanges) {
  const auto config = sim_config();
  on_ranks(1, [&](comm::Communicator& comm) {
    SimTraining training(config, comm);
    const auto before = training.weights();
    EXPECT_EQ(restore_checkpoint(run_, config, state_of(training), comm).step, 0);
    EXPECT_TRUE(torch::equal(training.weights(), before));
  });
}

}  // namespace
}  // namespace scorenet::train
