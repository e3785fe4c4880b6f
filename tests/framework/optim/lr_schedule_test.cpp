#include "framework/optim/lr_schedule.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/core/error.hpp"

namespace scorenet::optim {
namespace {

using testing::HasSubstr;

LrScheduleOptions options(const std::string& law) {
  return {.law = law,
          .learning_rate = 8.0,
          .warmup_steps = 4,
          .total_steps = 104,
          .reference_step = 25,
          .final_fraction = 0.25};
}

TEST(LrSchedule, WarmUpRisesLinearlyFromItsFirstStep) {
  for (const std::string& law : lr_law_names()) {
    EXPECT_DOUBLE_EQ(learning_rate_at(options(law), 0), 2.0) << law;  // 8 * 1 / 4
    EXPECT_DOUBLE_EQ(learning_rate_at(options(law), 3), 8.0) << law;
    EXPECT_DOUBLE_EQ(learning_rate_at(options(law), 4), 8.0) << law;
  }
}

TEST(LrSchedule, EachLawFallsAsItSays) {
  // Half way between step 4 and 104: linear (1 + 1/4) / 2 of 8, and so is the cosine; a quarter of
  // the way the cosine is 1/4 + 3/4 (1 + cos(pi / 4)) / 2.
  EXPECT_DOUBLE_EQ(learning_rate_at(options("constant"), 54), 8.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options("linear"), 54), 5.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options("cosine"), 54), 5.0);
  EXPECT_NEAR(learning_rate_at(options("cosine"), 29), 8 * (0.25 + 0.375 * (1 + std::sqrt(0.5))),
              1e-12);
  // 100 = 4 * 25 steps: half the peak; up to step 25 the peak.
  EXPECT_DOUBLE_EQ(learning_rate_at(options("inverse_sqrt"), 100), 4.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options("inverse_sqrt"), 25), 8.0);
}

TEST(LrSchedule, BeyondTheLastStepTheRateStays) {
  EXPECT_DOUBLE_EQ(learning_rate_at(options("linear"), 104), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options("cosine"), 1000), 2.0);
}

TEST(LrSchedule, ALawNeedsTheLastStepIfItsRateDependsOnIt) {
  for (const std::string& law : lr_law_names()) {
    LrScheduleOptions longer = options(law);
    longer.total_steps = 208;
    const bool depends = learning_rate_at(longer, 54) != learning_rate_at(options(law), 54);
    EXPECT_EQ(needs_last_step(law), depends) << law;
  }
  EXPECT_FALSE(needs_last_step("zigzag"));
}

std::string message(const LrScheduleOptions& o) {
  try {
    learning_rate_at(o, 10);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "";
}

TEST(LrSchedule, AValueThatCannotBeIsNamed) {
  auto o = options("cosine");
  o.total_steps = 3;
  EXPECT_THAT(message(o), HasSubstr("train.steps = 3"));
  EXPECT_THAT(message(options("zigzag")),
              testing::AllOf(HasSubstr("zigzag"), HasSubstr("inverse_sqrt")));
  o = options("constant");
  o.learning_rate = -0.1;
  EXPECT_THAT(message(o), HasSubstr("train.learning_rate = -0.1"));
  o = options("constant");
  o.warmup_steps = -1;
  EXPECT_THAT(message(o), HasSubstr("train.warmup_steps = -1"));
  o = options("linear");
  o.final_fraction = 2;
  EXPECT_THAT(message(o), HasSubstr("2.0"));
  o = options("inverse_sqrt");
  o.reference_step = 0;
  EXPECT_THAT(message(o), HasSubstr("= 0"));
}

}  // namespace
}  // namespace scorenet::optim
