// State shared out over ranks, and sums that do not know how many ranks there are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "framework/comm/sim_communicator.hpp"
#include "framework/comm/single_communicator.hpp"
#include "framework/core/error.hpp"
#include "framework/reduce/canonical_sum.hpp"
#include "framework/reduce/gradient_reducer.hpp"
#include "framework/reduce/shards.hpp"

namespace scorenet::reduce {
namespace {

using comm::Communicator;
using comm::run_simulated;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

/// Two buckets of 48 and 96 elements, one after the other: divide by 1, 2, 3 and 4 ranks.
const std::vector<Segment> kSegments = {{0, 48}, {48, 96}};

torch::Tensor count_up() { return torch::arange(144, torch::kFloat32); }

TEST(Shards, TheOwnedRangesOfAllRanksCoverTheBufferOnce) {
  for (const int n : {1, 2, 3, 4}) {
    std::vector<int> owners(144, 0);
    std::mutex mutex;
    EXPECT_THAT(run_simulated(n, {},
                              [&](Communicator& c) {
                                const Shards shards(kSegments, c);
                                EXPECT_EQ(shards.count(), 144 / n);
                                int64_t next = 0;
                                const std::lock_guard lock(mutex);
                                for (const OwnedRange& r : shards.owned()) {
                                  EXPECT_EQ(r.part_offset, next);
                                  next += r.count;
                                  for (int64_t i = 0; i < r.count; ++i)
                                    ++owners[size_t(r.offset + i)];
                                }
                                EXPECT_EQ(next, shards.count());
                              }),
                Each(IsEmpty()));
    EXPECT_THAT(owners, Each(1)) << n;
  }
}

TEST(Shards, WhatIsTakenAndGatheredIsTheBufferAgain) {
  EXPECT_THAT(run_simulated(3, {},
                            [](Communicator& c) {
                              const Shards shards(kSegments, c);
                              const auto part = torch::zeros({shards.count()});
                              shards.take(count_up(), part);
                              // Rank r owns elements 16 r.. of the first bucket and 48 + 32 r..
                              // of the second.
                              EXPECT_EQ(part[0].item<float>(), float(16 * c.rank()));
                              EXPECT_EQ(part[16].item<float>(), float(48 + 32 * c.rank()));
                              const auto whole = torch::zeros({144});
                              shards.gather(part, whole, "weights");
                              EXPECT_TRUE(torch::equal(whole, count_up()));
                            }),
              Each(IsEmpty()));
}

TEST(Shards, EachRankReceivesItsPartOfTheSum) {
  EXPECT_THAT(run_simulated(4, {},
                            [](Communicator& c) {
                              const Shards shards(kSegments, c);
                              // Rank r gives (r + 1) i: the sum over 4 ranks is 10 i.
                              const auto whole = (count_up() * (c.rank() + 1)).contiguous();
                              const auto part = torch::zeros({shards.count()});
                              for (size_t s = 0; s < 2; ++s)
                                shards.reduce(s, whole, part, "gradients").wait();
                              const auto expected = torch::zeros({shards.count()});
                              shards.take(10 * count_up(), expected);
                              EXPECT_TRUE(torch::equal(part, expected));
                            }),
              Each(IsEmpty()));
}

TEST(Shards, ASegmentThatDoesNotDivideIsNamed) {
  EXPECT_THAT(run_simulated(5, {}, [](Communicator& c) { Shards(kSegments, c); }),
              Each(testing::AllOf(HasSubstr("48 elements"), HasSubstr("5 ranks"))));
}

TEST(ScatterTraffic, TheReducerGivesEachRankItsPartWhileBackwardRuns) {
  // loss = sum_i (r + 1) w_i . x_i over three parameters: gradients are (r + 1) x_i, their sum over
  // 2 ranks 3 x_i.
  EXPECT_THAT(
      run_simulated(2, {},
                    [](Communicator& c) {
                      std::vector<torch::Tensor> w;
                      for (int i = 0; i < 3; ++i) w.push_back(torch::zeros({20}).requires_grad_());
                      FlatLayout layout = make_flat_layout({20, 20, 20});  // padded to 32 each
                      auto [spread, buckets] = spread_buckets(
                          layout, plan_buckets(layout, 4, {128, 128, 128}), shardable_multiple(2));
                      ASSERT_EQ(buckets.size(), 3u);
                      std::vector<Segment> segments;
                      for (const Bucket& b : buckets) segments.push_back({b.offset, b.count});
                      const Shards shards(segments, c);
                      const auto part = torch::zeros({shards.count()});
                      ReducerOptions options;
                      options.buckets = buckets;
                      options.traffic = scatter_traffic(shards, part);
                      const auto flat = torch::zeros({spread.total});
                      GradientReducer reducer(w, flat, spread, c, options);
                      for (int step = 0; step < 2; ++step) {
                        reducer.zero_gradients();
                        reducer.begin(true);
                        torch::Tensor loss = torch::zeros({});
                        for (int i = 0; i < 3; ++i)
                          loss = loss + (w[size_t(i)] * (c.rank() + 1) * (i + 1)).sum();
                        loss.backward();
                        reducer.finish();
                        EXPECT_EQ(reducer.stats().calls, 3);
                        EXPECT_EQ(reducer.stats().bytes, spread.total * 4);
                        const auto sum = torch::zeros({spread.total});
                        for (size_t i = 0; i < 3; ++i)
                          sum.narrow(0, spread.offsets[i], 20).fill_(3.0 * double(i + 1));
                        const auto expected = torch::zeros({shards.count()});
                        shards.take(sum, expected);
                        EXPECT_TRUE(torch::equal(part, expected));
                      }
                    }),
      Each(IsEmpty()));
}

/// The canonical sum of 8 shards' pseudo-random gradients, as every rank of n sees it.
std::vector<torch::Tensor> canonical(int n) {
  std::vector<torch::Tensor> result(static_cast<size_t>(n));
  const auto errors = run_simulated(n, {}, [&](Communicator& c) {
    const auto flat = torch::zeros({1000});
    CanonicalSum sum(flat, c, 8);
    for (int repeat = 0; repeat < 2; ++repeat) {
      for (int64_t s = sum.first_shard(); s < sum.first_shard() + sum.shards(); ++s) {
        // Of very different sizes, so that the order of summation shows in the bits.
        flat.copy_(torch::sin(torch::arange(1000).to(torch::kFloat32) * double(s + 1)) *
                   std::pow(10.0, s % 4));
        sum.add_shard();
      }
      sum.finish();
    }
    result[size_t(c.rank())] = flat;
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  return result;
}

TEST(CanonicalSum, IsBitEqualAtOneTwoFourAndEightRanks) {
  const auto one = canonical(1)[0];
  // The tree over shards 0..7, written out.
  std::vector<torch::Tensor> g;
  for (int s = 0; s < 8; ++s) {
    g.push_back(torch::sin(torch::arange(1000).to(torch::kFloat32) * double(s + 1)) *
                std::pow(10.0, s % 4));
  }
  const auto tree = ((g[0] + g[1]) + (g[2] + g[3])) + ((g[4] + g[5]) + (g[6] + g[7]));
  EXPECT_TRUE(torch::equal(one, tree));
  // The plain order gives other bits, or this test could not fail.
  auto plain = g[0].clone();
  for (int s = 1; s < 8; ++s) plain = plain + g[size_t(s)];
  EXPECT_FALSE(torch::equal(one, plain));
  for (const int n : {2, 4, 8}) {
    for (const auto& each : canonical(n)) EXPECT_TRUE(torch::equal(each, one)) << n;
  }
}

TEST(CanonicalSum, RefusesRankCountsThatDoNotDivideAndShardsThatDoNotCount) {
  const auto errors =
      run_simulated(3, {}, [](Communicator& c) { CanonicalSum(torch::zeros({4}), c, 8); });
  EXPECT_THAT(errors,
              Each(testing::AllOf(HasSubstr("= 8 with 3 ranks"), HasSubstr("power of two"))));
  const auto alone = comm::make_single_communicator();
  CanonicalSum sum(torch::zeros({4}), *alone, 2);
  EXPECT_THROW(sum.finish(), CommError);
  sum.add_shard();
  sum.add_shard();
  EXPECT_THROW(sum.add_shard(), CommError);
  EXPECT_THROW(CanonicalSum(torch::zeros({4}), *alone, 6), ConfigError);
  EXPECT_THROW(CanonicalSum(torch::zeros({4}, torch::kInt64), *alone, 8), ShapeError);
}

}  // namespace
}  // namespace scorenet::reduce
