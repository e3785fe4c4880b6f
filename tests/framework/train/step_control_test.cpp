// What ranks exchange in a step and what they report, by hand.
#include "framework/train/step_control.hpp"

#include <cmath>

#include "framework/train/tick_meter.hpp"
#include "tests/framework/train/sim_training.hpp"

namespace scorenet::train {
namespace {

using testing::AllOf;
using testing::HasSubstr;

torch::Tensor doubles(const std::vector<double>& values) {
  return torch::tensor(values, torch::kFloat64);
}

TEST(StepControl, BinsAreOfTheLogSnrRangeCleanestFirst) {
  // Under vdm_linear log_snr is linear in t, so the 20 bins of its range are those of [0, 1].
  const auto schedule = diffusion::make_schedule({.name = "vdm_linear"});
  const auto bins = level_bins_of(*schedule, doubles({0.0, 0.12, 0.31, 0.62, 0.91, 1.0}));
  EXPECT_TRUE(torch::equal(bins, torch::tensor({0, 2, 6, 12, 18, 19}, torch::kInt64)));
}

data::LoadedBatch batch_with_labels() {
  data::LoadedBatch loaded;
  loaded.slots = {0, 4};
  loaded.batch.labels = torch::tensor({2, 0, 1, 2}, torch::kInt64);
  return loaded;
}

TEST(StepControl, LabelsAreDroppedWithTheirProbabilityAndBecomeNoLabel) {
  const auto labels_at = [](const std::string& drop) {
    auto config = sim_config("[diffusion]\nlabel_drop = " + drop + "\n");
    config.model.num_classes = 3;
    const auto model = score::build_model(config, {2}, torch::kCPU);
    return conditions_of_step(model, batch_with_labels(), {0, 1, 2, 3}, 0).labels;
  };
  EXPECT_TRUE(torch::equal(labels_at("0.0"), torch::tensor({2, 0, 1, 2}, torch::kInt64)));
  EXPECT_TRUE(torch::equal(labels_at("1.0"), torch::tensor({3, 3, 3, 3}, torch::kInt64)));
}

TEST(StepControl, ANetworkWithoutClassesTrainsWithoutLabels) {
  const auto model = score::build_model(sim_config(), {2}, torch::kCPU);
  EXPECT_FALSE(conditions_of_step(model, batch_with_labels(), {0, 1, 2, 3}, 0).labels.defined());
}

TEST(StepControl, AnExampleLosesItsLabelAndItsConditionsTogether) {
  auto config = sim_config("[diffusion]\nlabel_drop = 0.5\n");
  config.model.num_classes = 3;
  const auto model = score::build_model(config, {2}, torch::kCPU);
  auto loaded = batch_with_labels();
  loaded.batch.numbers = torch::ones({4, 2});
  int64_t told = 0;
  for (int64_t step = 0; step < 20; ++step) {
    const auto given = conditions_of_step(model, loaded, {0, 1, 2, 3}, step);
    EXPECT_TRUE(torch::equal(given.labels.ne(3), given.told.eq(1)));
    told += given.told.sum().item<int64_t>();
  }
  EXPECT_NEAR(static_cast<double>(told), 40, 15);
}

TEST(StepControl, TheLearningRateKnowsTheLastStep) {
  config::TrainConfig train;
  train.steps = 100;
  train.rate = {.law = "linear", .learning_rate = 8, .warmup_steps = 0};
  EXPECT_DOUBLE_EQ(learning_rate_of(train, 25), 6.0);  // 3/4 of the way is left
  train.steps = 0;
  train.batch_size = 1000;
  train.duration_kimg = 50;  // 50 steps
  EXPECT_DOUBLE_EQ(learning_rate_of(train, 25), 4.0);
}

TEST(StepControl, ARampInImagesIsEdmsOneStepAhead) {
  // EDM: the rate times min(images so far / ramp, 1), with 0 in the first step.
  config::TrainConfig train;
  train.rate.learning_rate = 8;
  train.batch_size = 100;
  train.lr_rampup_kimg = 0.4;  // 4 steps
  EXPECT_DOUBLE_EQ(learning_rate_of(train, 0), 2);
  EXPECT_DOUBLE_EQ(learning_rate_of(train, 2), 6);
  EXPECT_DOUBLE_EQ(learning_rate_of(train, 3), 8);
  EXPECT_DOUBLE_EQ(learning_rate_of(train, 9), 8);
  train.lr_rampup_kimg = 0;  // none
  EXPECT_DOUBLE_EQ(learning_rate_of(train, 0), 8);
}

TEST(StepControl, EveryLossThatIsNotFiniteIsNamedWithItsSampleAndTime) {
  EXPECT_EQ(trouble_of(doubles({1, NAN, INFINITY}), {5, 17, 9}, doubles({0.1, 0.25, 0.5})),
            " sample 17 at t = 0.250000; sample 9 at t = 0.500000;");
  EXPECT_EQ(trouble_of(doubles({1, 2}), {5, 17}, doubles({0.1, 0.25})), "");
}

// The report of two ranks, of which rank r adds r + 1 to the sums; `change` may do more.
StepReport report_of_two(double norm, const optim::LossScale& scale,
                         const std::function<void(comm::ControlVector&, int)>& change) {
  config::TrainConfig train;
  train.batch_size = 4;
  train.steps = 10;
  StepReport report;
  on_ranks(2, [&](comm::Communicator& comm) {
    comm::ControlVector control(step_control_fields(4, false), comm.rank(), comm.size());
    control.add("loss", comm.rank() + 1);
    control.add("data_wait", 0.5);
    control.add("level_loss", comm.rank() + 1, 2);
    change(control, comm.rank());
    control.exchange(comm).wait();
    SpikeLaw spikes(10);
    const StepReport mine =
        report_of(control, train, 7, norm, scale,
                  {"samples of rank 1;", {}, {}, torch::zeros({0}, torch::kFloat64)}, spikes, comm);
    if (comm.rank() == 0) report = mine;
  });
  return report;
}

const auto kNothingMore = [](comm::ControlVector&, int) {};

TEST(StepControl, AReportHoldsTheMeansOverTheBatchAndTheRanks) {
  const StepReport report = report_of_two(3.0, optim::LossScale(false), kNothingMore);
  EXPECT_EQ(report.step, 7);
  EXPECT_DOUBLE_EQ(report.loss, (1.0 + 2.0) / 4);     // over the global batch
  EXPECT_DOUBLE_EQ(report.data_wait_seconds, 0.5);    // mean over the ranks
  EXPECT_DOUBLE_EQ(report.level_loss[2], 1.0 + 2.0);  // a sum
  EXPECT_DOUBLE_EQ(report.grad_norm, 3.0);
  EXPECT_FALSE(report.skipped || report.stop || report.overflow);
  EXPECT_EQ(report.trouble, "");
}

TEST(StepControl, AnyRanksStopIsReported) {
  const StepReport report =
      report_of_two(3.0, optim::LossScale(false), [](comm::ControlVector& control, int rank) {
        if (rank == 1) control.raise("stop");
      });
  EXPECT_TRUE(report.stop);
  EXPECT_FALSE(report.skipped);
}

TEST(StepControl, ABadLossIsToldInTheWordsOfItsRank) {
  const StepReport report =
      report_of_two(3.0, optim::LossScale(false), [](comm::ControlVector& control, int rank) {
        if (rank == 1) control.raise("not_finite");
      });
  EXPECT_TRUE(report.skipped);
  EXPECT_FALSE(report.overflow);
  EXPECT_EQ(report.trouble, "the loss on rank 1 is not finite:samples of rank 1;");
}

TEST(StepControl, ANormThatIsNotFiniteIsAnOverflowOnlyWhereTheScaleCanFall) {
  const StepReport half = report_of_two(INFINITY, optim::LossScale(true), kNothingMore);
  EXPECT_TRUE(half.skipped && half.overflow);
  EXPECT_THAT(half.trouble, AllOf(HasSubstr("float16"), HasSubstr("65536")));
  const StepReport full = report_of_two(INFINITY, optim::LossScale(false), kNothingMore);
  EXPECT_TRUE(full.skipped);
  EXPECT_FALSE(full.overflow);
  EXPECT_THAT(full.trouble, HasSubstr("the reduced gradient is not"));
}

TEST(TickMeter, LossesByLevelAreMeansOverImagesNotOverSteps) {
  StepReport first, second;
  first.level_loss[4] = 6, first.level_count[4] = 3;    // bin 4 lies in the cleanest quarter
  second.level_loss[4] = 2, second.level_count[4] = 1;  // (6 + 2) / (3 + 1)
  second.level_loss[19] = 5, second.level_count[19] = 1;
  first.level_loss[1] = 1, first.level_count[1] = 1;  // quarter: (8 + 1) / (4 + 1)
  TickMeter meter(4);
  meter.add(first);
  meter.add(second);
  const Tick tick = meter.take();
  EXPECT_EQ(tick.loss_by_level[4], 2.0);
  EXPECT_EQ(tick.loss_by_level[19], 5.0);
  EXPECT_TRUE(std::isnan(tick.loss_by_level[5]));
  EXPECT_EQ(tick.loss_quartile[0], 1.8);
  EXPECT_TRUE(std::isnan(tick.loss_quartile[1]));
  EXPECT_EQ(tick.loss_quartile[3], 5.0);
}

}  // namespace
}  // namespace scorenet::train
