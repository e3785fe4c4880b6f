// Whoever sleeps in a phase is named with it, however long the others then wait for it.
#include "framework/train/step_clock.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "framework/comm/sim_communicator.hpp"

namespace scorenet::train {
namespace {

using testing::Each;
using testing::IsEmpty;

void sleep_ms(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

/// Two steps of 3 sleeping ranks, 20 ms a phase; rank 1 takes 120 ms longer in `slow`
/// (kStepPhases: nowhere).
std::vector<std::optional<perf::Straggler>> reports(size_t slow) {
  std::vector<std::optional<perf::Straggler>> found(3);
  EXPECT_THAT(comm::run_simulated(3, {},
                                  [&](comm::Communicator& c) {
                                    StepClock clock(0);
                                    const auto work = [&](StepPhase phase) {
                                      const bool late = c.rank() == 1 && size_t(phase) == slow;
                                      sleep_ms(late ? 140 : 20);
                                    };
                                    for (int step = 0; step < 2; ++step) {
                                      const auto start = comm::Clock::now();
                                      work(StepPhase::data);
                                      clock.begin_step(comm::seconds_since(start));
                                      work(StepPhase::other);
                                      clock.enter(StepPhase::forward);
                                      work(StepPhase::forward);
                                      clock.enter(StepPhase::backward);
                                      work(StepPhase::backward);
                                      clock.enter(StepPhase::update);
                                      work(StepPhase::update);
                                      clock.enter(StepPhase::communication);
                                      c.barrier("gradients").wait();
                                      clock.end_step({});
                                    }
                                    found[size_t(c.rank())] = find_straggler(clock.take(), 0.5, c);
                                  }),
              Each(IsEmpty()));
  return found;
}

TEST(Straggler, IsNamedInEachPhaseAndOnAllRanks) {
  for (const auto phase : {StepPhase::data, StepPhase::forward, StepPhase::backward,
                           StepPhase::update, StepPhase::other}) {
    for (const auto& report : reports(size_t(phase))) {
      ASSERT_TRUE(report.has_value()) << name(phase);
      EXPECT_EQ(report->rank, 1);
      EXPECT_EQ(report->phase, name(phase));
      EXPECT_GE(report->seconds, 0.14);
    }
  }
}

TEST(Straggler, BalancedRanksAndTimeInCollectivesGiveNoReport) {
  for (const auto& report : reports(kStepPhases)) EXPECT_FALSE(report.has_value());
  for (const auto& report : reports(size_t(StepPhase::communication)))
    EXPECT_FALSE(report.has_value());
}

TEST(StepClock, TracesTheFirstStepsWithTheirBuckets) {
  StepClock clock(1);
  reduce::ReducerStats traffic;
  traffic.begin_wall_s = 100;
  traffic.buckets = {{0.5, 0.75, 1.0},
                     {0, 2.0, 3.0}};  // the second has a parameter without gradient
  for (int step = 0; step < 2; ++step) {
    EXPECT_EQ(clock.tracing(), step == 0);
    clock.begin_step(0.25);
    clock.enter(StepPhase::forward);
    clock.end_step(traffic);
  }
  std::vector<std::string> names;
  for (const perf::Span& span : clock.spans()) names.push_back(span.name);
  EXPECT_THAT(names, testing::ElementsAre("data", "other", "forward", "bucket 0 ready",
                                          "bucket 0 under way", "bucket 1 under way"));
  EXPECT_NEAR(clock.spans()[0].end_s - clock.spans()[0].start_s, 0.25, 0.1);
  EXPECT_EQ(clock.spans()[3].start_s, 100.5);
  EXPECT_EQ(clock.spans()[3].end_s, 100.75);
}

}  // namespace
}  // namespace scorenet::train
