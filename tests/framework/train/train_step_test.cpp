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
  for (const double count : one.level_count) counted += count;
  EXPECT_EQ(counted, 8);  // each example of the batch fell into one bin
  on_ranks(4, [&](comm::Communicator& comm) {
    const StepReport report = SimTraining(sim_config(), comm).run(0);
    EXPECT_NEAR(report.loss, one.loss, 1e-6 * one.loss);
    EXPECT_NEAR(report.grad_norm, one.grad_norm, 1e-5 * one.grad_norm);
    for (int64_t b = 0; b < kLevelBins; ++b) EXPECT_EQ(report.level_count[b], one.level_count[b]);
    EXPECT_FALSE(report.skipped);
  });
}

TEST(TrainStep, LossScalingMultipliesTheGradientAndNotTheReportedLoss) {
  for (const int ranks : {1, 2}) {
    on_ranks(ranks, [](comm::Communicator& comm) {
      const StepReport plain = SimTraining(sim_config(), comm).run(0);
      config::Config scaled = sim_config();
      scaled.train.loss_scaling = 100;
      const StepReport report = SimTraining(scaled, comm).run(0);
      EXPECT_EQ(report.loss, plain.loss);
      EXPECT_NEAR(report.grad_norm, 100 * plain.grad_norm, 1e-4 * plain.grad_norm);
    });
  }
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
    const StepReport report = training.step->run(loaded, 0, {}).value();
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
    EXPECT_TRUE(training.step->run(loaded, 0, {.stop = comm.rank() == 2})->stop);
  });
}

// Steps enough to be judged, then one whose slot 6 is a thousand times as large, then one more.
struct Spiked {
  StepReport report;
  torch::Tensor before, after, end;
};
Spiked spiked(const std::string& policy, int ranks) {
  // v = alpha eps - sigma x0: what is a thousand times as large, the network does not guess.
  const auto config = sim_config("[diffusion]\nprediction = \"v\"\n");
  Spiked result;
  on_ranks(ranks, [&](comm::Communicator& comm) {
    auto own = config;
    own.train.on_spike = policy;
    own.train.spike_deviations = 5;
    SimTraining training(own, comm);
    int64_t k = 0;
    for (; k < 80; ++k) EXPECT_FALSE(training.run(k).spike) << k;
    const auto before = training.weights();
    const StepReport report = training.run(k++, /*huge=*/6);
    const auto after = training.weights();
    training.run(k);
    if (comm.rank() == 0) result = {report, before, after, training.weights()};
  });
  return result;
}

TEST(TrainStep, ASpikeIsNamedWithRankSampleAndTimeAndAppliedAllTheSame) {
  const Spiked one = spiked("log", 2);
  EXPECT_TRUE(one.report.spike);
  EXPECT_FALSE(one.report.skipped);
  EXPECT_THAT(one.report.trouble,
              AllOf(HasSubstr("the loss "), HasSubstr("far above its recent median"),
                    HasSubstr("largest losses: sample 6 of rank 1 at t = ")));
  EXPECT_FALSE(torch::equal(one.before, one.after));
}

TEST(TrainStep, ASpikeThatIsSkippedLeavesTheWeightsOnAnyRanks) {
  for (const int ranks : {1, 2, 4}) {
    const Spiked left_out = spiked("skip", ranks);
    EXPECT_TRUE(left_out.report.spike && left_out.report.skipped) << ranks;
    EXPECT_TRUE(torch::equal(left_out.before, left_out.after)) << ranks;
    EXPECT_FALSE(torch::equal(left_out.after, left_out.end)) << ranks;  // and training goes on
  }
}

}  // namespace
}  // namespace scorenet::train
