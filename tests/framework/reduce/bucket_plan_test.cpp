// Flat layout and bucket plan: plain index arithmetic.
#include "framework/reduce/bucket_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "framework/core/error.hpp"

namespace scorenet::reduce {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int64_t> counts(const std::vector<Bucket>& buckets) {
  std::vector<int64_t> result;
  for (const Bucket& b : buckets) result.push_back(b.count);
  return result;
}

TEST(FlatLayout, IsTheReverseOfRegistrationAlignedAndPadded) {
  // Reverse order: sizes 3, 5, 4 at multiples of 4: 0, 4, 12; the end is padded to 16.
  const FlatLayout layout = make_flat_layout({4, 5, 3}, 4);
  EXPECT_THAT(layout.offsets, ElementsAre(12, 4, 0));
  EXPECT_EQ(layout.total, 16);
  EXPECT_THAT(layout.order(), ElementsAre(2, 1, 0));
}

TEST(FlatLayout, TakesAnObservedOrder) {
  const FlatLayout layout = make_flat_layout({4, 5, 3}, {1, 2, 0}, 1);
  EXPECT_THAT(layout.offsets, ElementsAre(8, 0, 5));
  EXPECT_EQ(layout.total, 12);
}

TEST(FlatLayout, RefusesWhatIsNoOrder) {
  EXPECT_THROW(make_flat_layout({4, 5}, {0, 0}, 1), ShapeError);
  EXPECT_THROW(make_flat_layout({4, 5}, {0}, 1), ShapeError);
  EXPECT_THROW(make_flat_layout({4, -1}, 1), ShapeError);
  EXPECT_THROW(make_flat_layout({4}, 0), ShapeError);
}

TEST(BucketPlan, FirstAndLastAreSmallAndTheRestFillsTheCap) {
  // Ten parameters of 1 KiB; caps 4, 1 and 2 KiB: 1, then 4, then what is left before the last
  // two, then 2.
  const FlatLayout layout = make_flat_layout(std::vector<int64_t>(10, 256), 1);
  const auto buckets = plan_buckets(layout, 4, {4096, 1024, 2048});
  EXPECT_THAT(counts(buckets), ElementsAre(256, 1024, 768, 512));
  EXPECT_THAT(buckets[0].parameters, ElementsAre(9));
  EXPECT_THAT(buckets[3].parameters, ElementsAre(1, 0));
}

TEST(BucketPlan, AParameterLargerThanTheCapHasABucketOfItsOwn) {
  // In memory order: 2, 5000, 3 elements.
  const auto buckets = plan_buckets(make_flat_layout({3, 5000, 2}, 1), 4, {1024, 1024, 1024});
  EXPECT_THAT(counts(buckets), ElementsAre(2, 5000, 3));
}

TEST(BucketPlan, CoversTheBufferOnceAndRespectsItsCapsForRandomSizes) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<int64_t> sizes(1 + random() % 40);
    for (int64_t& s : sizes) s = int64_t(random() % 2000);
    const FlatLayout layout = make_flat_layout(sizes, 1 + random() % 32);
    const BucketCaps caps{int64_t(1 + random() % 20000), int64_t(1 + random() % 5000),
                          int64_t(1 + random() % 5000)};
    int64_t end = 0;
    std::vector<int> seen(sizes.size());
    for (const Bucket& b : plan_buckets(layout, 4, caps)) {
      EXPECT_EQ(b.offset, end);
      end += b.count;
      for (const int64_t p : b.parameters) {
        ++seen[size_t(p)];
        EXPECT_GE(layout.offsets[size_t(p)], b.offset);
        EXPECT_LE(layout.offsets[size_t(p)] + sizes[size_t(p)], b.offset + b.count);
      }
      if (b.parameters.size() > 1) {
        EXPECT_LE(b.count * 4, std::max(caps.cap_bytes, caps.last_bytes));
      }
    }
    EXPECT_EQ(end, layout.total);
    EXPECT_THAT(seen, testing::Each(1));
  }
}

TEST(BucketPlan, NoParametersNoBucketsAndBadCapsAreNamed) {
  EXPECT_TRUE(plan_buckets({}, 4, {1, 1, 1}).empty());
  try {
    plan_buckets(make_flat_layout({4}), 4, {0, 1, 1});
    FAIL();
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(), HasSubstr("0, 1, 1 bytes"));
  }
}

TEST(BucketPlan, SpreadBucketsAreMultiplesAndKeepTheirParameters) {
  // Reversed: 7 -> 16, 20 -> 32, 5 -> 16 elements. Caps of 64 bytes: a bucket each; in multiples of
  // 48: 48, 48, 48.
  const FlatLayout layout = make_flat_layout({5, 20, 7});
  const auto buckets = plan_buckets(layout, 4, {64, 64, 64});
  const BucketedLayout spread = spread_buckets(layout, buckets, 48);
  EXPECT_EQ(spread.layout.offsets, (std::vector<int64_t>{96, 48, 0}));
  EXPECT_EQ(spread.layout.total, 144);
  for (size_t b = 0; b < 3; ++b) {
    EXPECT_EQ(spread.buckets[b].offset, int64_t(48 * b));
    EXPECT_EQ(spread.buckets[b].count, 48);
    EXPECT_EQ(spread.buckets[b].parameters, buckets[b].parameters);
  }
  EXPECT_THROW(spread_buckets(layout, buckets, 0), ShapeError);
}

}  // namespace
}  // namespace scorenet::reduce
