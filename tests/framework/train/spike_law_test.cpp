// What is far above the recent steps, by hand.
#include "framework/train/spike_law.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace scorenet::train {
namespace {

// Losses exp(-0.1), exp(0), exp(0.1) in turn: median of the logarithm 0, median absolute deviation
// 0.1. Norms twice as large.
double loss_at(int64_t step) { return std::exp(0.1 * static_cast<double>(step % 3 - 1)); }

SpikeLaw law_of(int64_t steps, double deviations = 10) {
  SpikeLaw law(deviations);
  for (int64_t k = 0; k < steps; ++k) law.observe(k, loss_at(k), 2 * loss_at(k));
  return law;
}

TEST(SpikeLaw, TheLimitIsTheMedianAndSoManyDeviationsOfTheLogarithm) {
  const auto limits = law_of(90).limits(91);
  EXPECT_NEAR(limits.loss, std::exp(10 * 1.4826 * 0.1), 1e-5);
  EXPECT_NEAR(limits.grad_norm, 2 * std::exp(10 * 1.4826 * 0.1), 1e-5);
}

TEST(SpikeLaw, AFewStepsJudgeNothing) {
  // Step k is judged by steps 0 .. k - 2.
  EXPECT_TRUE(std::isinf(law_of(SpikeLaw::kLeast).limits(SpikeLaw::kLeast).loss));
  EXPECT_FALSE(std::isinf(law_of(SpikeLaw::kLeast).limits(SpikeLaw::kLeast + 1).loss));
}

TEST(SpikeLaw, TheStepBeforeDoesNotCountWhetherItIsKnownYetOrNot) {
  // All different: one more below them moves the median.
  SpikeLaw unknown(10);
  for (int64_t k = 0; k < 90; ++k) unknown.observe(k, std::exp(0.01 * static_cast<double>(k)), 1);
  const double limit = unknown.limits(91).loss;
  unknown.observe(90, 1e-6, 1);
  EXPECT_EQ(unknown.limits(91).loss, limit);
  EXPECT_NE(unknown.limits(92).loss, limit);
}

TEST(SpikeLaw, OnlyTheWindowCounts) {
  SpikeLaw law(10);
  int64_t k = 0;
  for (; k < 500; ++k) law.observe(k, 1000 * loss_at(k), 1);
  for (const int64_t end = k + SpikeLaw::kWindow + 1; k < end; ++k) law.observe(k, loss_at(k), 1);
  EXPECT_NEAR(law.limits(k).loss, std::exp(10 * 1.4826 * 0.1), 1e-5);
}

TEST(SpikeLaw, ALevelThatStaysIsSoonTheUsualOne) {
  SpikeLaw law = law_of(200);
  int64_t k = 200, spikes = 0;
  for (; k < 400; ++k) {
    spikes += 100 * loss_at(k) > law.limits(k).loss;
    law.observe(k, 100 * loss_at(k), 1);
  }
  EXPECT_GT(spikes, 0);
  EXPECT_LE(spikes, SpikeLaw::kWindow / 2 + 2);
  EXPECT_LT(100 * loss_at(k), law.limits(k).loss);
}

TEST(SpikeLaw, ConstantLossesHaveTheLeastDeviation) {
  SpikeLaw law(10);
  for (int64_t k = 0; k < 100; ++k) law.observe(k, 3, 4);
  EXPECT_NEAR(law.limits(100).loss, 3 * std::exp(10 * SpikeLaw::kLeastDeviation), 1e-4);
}

TEST(SpikeLaw, LossesWithoutALogarithmAreNotJudgedTheNormStillIs) {
  SpikeLaw law(10);
  for (int64_t k = 0; k < 100; ++k) law.observe(k, -1.0, loss_at(k));
  EXPECT_TRUE(std::isinf(law.limits(100).loss));
  EXPECT_NEAR(law.limits(100).grad_norm, std::exp(10 * 1.4826 * 0.1), 1e-5);
}

TEST(SpikeLaw, ItsStateIsAllOfIt) {
  const SpikeLaw law = law_of(77);
  SpikeLaw restored(10);
  const auto from = law.state(), to = restored.state();
  for (size_t i = 0; i < from.size(); ++i) to[i].second.copy_(from[i].second);
  EXPECT_EQ(restored.limits(78).loss, law.limits(78).loss);
  EXPECT_EQ(restored.loss_sentence(78, 50),
            "the loss 50 is far above its recent median 1 (limit 4.404)");
}

}  // namespace
}  // namespace scorenet::train
