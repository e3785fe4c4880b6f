// Which points the figures of a run have, from records made by hand.
#include "framework/report/curves.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace scorenet::report {
namespace {

using Points = std::vector<std::pair<double, double>>;
using nlohmann::json;

// A run of 500 images a step.
RunRecord run_of(const std::string& name, std::vector<json> ticks) {
  RunRecord run;
  run.name = name;
  run.config = config::Config();
  run.config->train.batch_size = 500;
  run.ticks = std::move(ticks);
  return run;
}

json bins_tick(int64_t step, const std::vector<double>& bins, double clean = 10,
               double noisy = -10) {
  return {{"step", step}, {"log_snr", {clean, noisy}}, {"loss_by_log_snr", bins}};
}

TEST(Curves, TrainingIsOverThousandsOfImages) {
  const auto figures = training_figures(
      {run_of("a", {{{"step", 2}, {"loss", 0.5}}, {{"step", 4}, {"grad_norm", 3.0}}})});
  ASSERT_EQ(figures.size(), 4u);
  const Points& loss = figures[0].series.at(0).points;
  ASSERT_EQ(loss.size(), 2u);
  EXPECT_EQ(loss[0], std::pair(1.0, 0.5));  // 2 steps of 500 images
  EXPECT_EQ(loss[1].first, 2);
  EXPECT_TRUE(std::isnan(loss[1].second)) << "a tick without a loss parts the curve";
}

TEST(Curves, NatsAreLeftOutBesideBits) {
  RunRecord run = run_of("a", {});
  run.metrics["elbo_nats"] = {{4, 9.0}};
  run.metrics["elbo_bits_per_dim"] = {{4, 3.0}, {2, 3.5}};
  run.metrics["fd"] = {{2, 1.0}};
  const auto figures = metric_figures({run});
  ASSERT_EQ(figures.size(), 2u);  // by name: elbo_bits_per_dim, fd
  EXPECT_STREQ(figures[0].y, "bits per dimension");
  EXPECT_EQ(figures[0].series.at(0).points, (Points{{1, 3.5}, {2, 3.0}}));  // in order
  EXPECT_EQ(figures[1].series.at(0).name, "a: fd");
}

TEST(Curves, NatsAreThereWithoutBits) {
  RunRecord run = run_of("a", {});
  run.metrics["elbo_nats"] = {{4, 9.0}};
  const auto figures = metric_figures({run});
  ASSERT_EQ(figures.size(), 1u);
  EXPECT_STREQ(figures[0].y, "nats");
}

// Bin 0 is the clean end, at the right: stairs go from noisy to clean.
TEST(Curves, TheLossOverLogSnrIsAMeanInEachBin) {
  const auto figure =
      loss_over_log_snr({run_of("a", {bins_tick(1, {1, 2})}), run_of("b", {bins_tick(1, {3, 4})})});
  ASSERT_EQ(figure.series.size(), 2u);
  EXPECT_EQ(figure.series[0].points, (Points{{-10, 2}, {0, 1}, {10, 1}}));
  EXPECT_EQ(figure.series[1].points, (Points{{-10, 4}, {0, 3}, {10, 3}}));
}

TEST(Curves, OfOneRunTheFirstAndTheLastFifth) {
  std::vector<json> ticks;
  for (int64_t step = 1; step <= 10; ++step)
    ticks.push_back(bins_tick(step, {static_cast<double>(step)}));
  const auto figure = loss_over_log_snr({run_of("a", ticks)});
  ASSERT_EQ(figure.series.size(), 2u);
  EXPECT_EQ(figure.series[0].name, "a, last fifth of the run");
  EXPECT_EQ(figure.series[0].points, (Points{{-10, 9.5}, {10, 9.5}}));  // of 9 and 10
  EXPECT_EQ(figure.series[1].points, (Points{{-10, 1.5}, {10, 1.5}}));  // of 1 and 2
}

// What a damaged line holds is passed over.
TEST(Curves, TicksWithoutBinsDoNotCount) {
  const auto figure = loss_over_log_snr(
      {run_of("a", {bins_tick(1, {5}), {{"step", 2}, {"loss_by_log_snr", "text"}}}),
       run_of("b", {{{"step", 1}}})});
  EXPECT_TRUE(figure.series.at(1).points.empty());
}

TEST(Curves, ARunWithoutAConfigHasNoSchedule) {
  RunRecord none = run_of("none", {});
  none.config.reset();
  const auto figure =
      schedule_figure({none, run_of("b", {})},
                      [](const diffusion::ScheduleOptions&) { return Points{{0, 10}, {1, -10}}; });
  ASSERT_EQ(figure.series.size(), 1u);
  EXPECT_EQ(figure.series[0].colour, 1u);  // as in the other figures
  EXPECT_EQ(figure.series[0].points.size(), 2u);
}

}  // namespace
}  // namespace scorenet::report
