// Draws are functions of their address: nothing else may change them.
#include "framework/core/random.hpp"

#include <gtest/gtest.h>

#include <set>

namespace scorenet {
namespace {

const RandomKey kKey{7, RandomStream::training_noise, 42};

TEST(Random, ARowDependsOnItsSlotAloneAndNotOnItsNeighbours) {
  const auto together = normal_for_slots(kKey, {0, 1, 2, 3, 4}, {3, 5}, torch::kFloat32);
  const auto apart = normal_for_slots(kKey, {3}, {3, 5}, torch::kFloat32);
  EXPECT_TRUE(torch::equal(together[3], apart[0]));
  const auto shuffled = normal_for_slots(kKey, {4, 2}, {3, 5}, torch::kFloat32);
  EXPECT_TRUE(torch::equal(together[4], shuffled[0]));
  EXPECT_TRUE(torch::equal(together[2], shuffled[1]));
}

TEST(Random, EveryPartOfTheAddressChangesTheDraw) {
  const auto base = normal_for_slots(kKey, {5}, {8}, torch::kFloat64);
  for (const RandomKey& other :
       {RandomKey{8, RandomStream::training_noise, 42}, RandomKey{7, RandomStream::dropout, 42},
        RandomKey{7, RandomStream::training_noise, 43}}) {
    EXPECT_FALSE(torch::equal(base, normal_for_slots(other, {5}, {8}, torch::kFloat64)));
  }
  EXPECT_FALSE(torch::equal(base, normal_for_slots(kKey, {6}, {8}, torch::kFloat64)));
}

TEST(Random, NormalHasTheMomentsOfAStandardNormal) {
  const int64_t n = 200'000;
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    const auto x = normal_for_slots(kKey, slot_range(0, n / 100), {100}, dtype).to(torch::kFloat64);
    // Standard errors of the sample mean, of x^2 (variance 2) and of x^4 (variance 105 - 9 = 96).
    EXPECT_NEAR(x.mean().item<double>(), 0, 4 / std::sqrt(double(n)));
    EXPECT_NEAR(x.pow(2).mean().item<double>(), 1, 4 * std::sqrt(2.0 / double(n)));
    EXPECT_NEAR(x.pow(4).mean().item<double>(), 3, 4 * std::sqrt(96.0 / double(n)));
    EXPECT_TRUE(torch::isfinite(x).all().item<bool>());
  }
}

TEST(Random, UniformCoversTheUnitIntervalEvenly) {
  const auto u = uniform_for_slots(kKey, slot_range(0, 1000), {100}, torch::kFloat64);
  EXPECT_GE(u.min().item<double>(), 0.0);
  EXPECT_LT(u.max().item<double>(), 1.0);
  EXPECT_NEAR(u.mean().item<double>(), 0.5, 4 * std::sqrt(1.0 / 12 / 1e5));
}

TEST(Random, RademacherIsPlusOrMinusOneWithMeanZero) {
  const auto r = rademacher_for_slots(kKey, slot_range(0, 100), {1001}, torch::kFloat32);
  EXPECT_TRUE(r.abs().eq(1).all().item<bool>());
  EXPECT_NEAR(r.mean().item<double>(), 0, 4 / std::sqrt(100'100.0));
}

TEST(Random, PermutationHoldsEachIndexOnceAndChangesWithTheEpoch) {
  const auto order = permutation({1, RandomStream::shuffle, 0}, 1000);
  EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 1000u);
  EXPECT_NE(order, permutation({1, RandomStream::shuffle, 1}, 1000));
  EXPECT_TRUE(permutation({1, RandomStream::shuffle, 0}, 0).empty());
}

TEST(Random, AnExampleMayBeAScalarOrTheBatchEmpty) {
  EXPECT_EQ(normal_for_slots(kKey, {1, 2}, {}, torch::kFloat32).sizes(), (std::vector<int64_t>{2}));
  EXPECT_EQ(normal_for_slots(kKey, {}, {4}, torch::kFloat32).sizes(), (std::vector<int64_t>{0, 4}));
}

}  // namespace
}  // namespace scorenet
