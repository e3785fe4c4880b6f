// One step: what all ranks know after it, and that a step which is not finite changes nothing.
#include "framework/train/train_step.hpp"

#include "tests/framework/train/sim_training.hpp"

namespace scorenet::train {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(TrainStep, ReportsTheSameOnAllRanksAsOnOne) {
  StepReport one;
  on_ranks(1, [&](comm::Communicator& comm) { one = SimTraining(sim_config(), comm).run(0); });
  double counted = 0;
  for (const double count : one.quartile_count) counted += count;
  EXPECT_EQ(counted, 8);  // each example of the batch fell into one quarter
  on_ranks(4, [&](comm::Communicator& comm) {
    const StepReport report = SimTraining(sim_config(), comm).run(0);
    EXPECT_NEAR(report.loss, one.loss, 1e-6 * one.loss);
    EXPECT_NEAR(report.grad_norm, one.grad_norm, 1e-5 * one.grad_norm);
    for (int q = 0; q < 4; ++q) EXPECT_EQ(report.quartile_count[q], one.quartile_count[q]);
    EXPECT_FALSE(report.skipped);
  });
}

TEST(TrainStep, ALossThatIsNotFiniteNamesItsSamplesAndLeavesTheWeights) {
  on_ranks(2, [](comm::Communicator& comm) {
    SimTraining training(sim_config(), comm);
    const auto before = training.weights();
    data::LoadedBatch loaded;
    loaded.slots = data::shard(8, comm.rank(), 2);
    loaded.batch.indices = slot_range(100 + loaded.slots.begin, loaded.slots.size());
    loaded.batch.examples = torch::zeros({4, 2}, torch::kFloat64);
    if (comm.rank() == 1) loaded.batch.examples[2] = NAN;  // slot 6, sample 106
    const StepReport report = training.step->run(loaded, 0, false).value();
    EXPECT_TRUE(report.skipped);
    EXPECT_THAT(report.trouble, AllOf(HasSubstr("rank 1"), HasSubstr("sample 106 ")));
    EXPECT_TRUE(torch::equal(training.weights(), before));
  });
}

TEST(TrainStep, AStopOnOneRankIsHeardByAll) {
  on_ranks(3, [](comm::Communicator& comm) {
    SimTraining training(sim_config(), comm);
    data::LoadedBatch loaded;
    loaded.slots = data::shard(8, comm.rank(), 3);
    loaded.batch.indices = slot_range(loaded.slots.begin, loaded.slots.size());
    loaded.batch.examples = torch::ones({loaded.slots.size(), 2}, torch::kFloat64);
    EXPECT_TRUE(training.step->run(loaded, 0, comm.rank() == 2)->stop);
  });
}

}  // namespace
}  // namespace scorenet::train
