// Who sees which sample when: integers only, so every claim holds exactly.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "framework/data/global_sampler.hpp"
#include "framework/data/shard.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::data {
namespace {

TEST(Shard, PartsAreDisjointInOrderCoverAllAndDifferByAtMostOne) {
  for (int64_t total = 0; total <= 50; ++total) {
    for (int world = 1; world <= 7; ++world) {
      int64_t next = 0, least = total, most = 0;
      for (int rank = 0; rank < world; ++rank) {
        const Range part = shard(total, rank, world);
        EXPECT_EQ(part.begin, next);
        next = part.end;
        least = std::min(least, part.size());
        most = std::max(most, part.size());
      }
      EXPECT_EQ(next, total);
      EXPECT_LE(most - least, 1);
    }
  }
}

TEST(Shard, RanksBeyondTheItemsAreEmpty) {
  EXPECT_EQ(shard(2, 1, 4), (Range{1, 2}));
  EXPECT_EQ(shard(2, 3, 4).size(), 0);
}

TEST(Shard, ARankOutsideTheWorldIsRefused) {
  EXPECT_ERROR(shard(10, 4, 4), ConfigError, "rank 4 of 4");
  EXPECT_ERROR(shard(10, -1, 4), ConfigError, "rank -1");
  EXPECT_ERROR(shard(-1, 0, 1), ConfigError, "-1 items");
}

ShuffleOptions chunked(int64_t rows, int64_t window) { return {5, true, rows, window}; }

TEST(EpochOrder, EveryEpochHoldsEachSampleOnceForAnyStorage) {
  for (const int64_t rows : {1, 2, 7, 64}) {
    for (const int64_t window : {1, 3}) {
      for (int64_t size = 1; size <= 50; ++size) {
        auto order = epoch_order(size, chunked(rows, window), 2);
        std::sort(order.begin(), order.end());
        for (int64_t i = 0; i < size; ++i) ASSERT_EQ(order[static_cast<size_t>(i)], i);
        ASSERT_EQ(static_cast<int64_t>(order.size()), size);
      }
    }
  }
}

TEST(EpochOrder, DependsOnSeedAndEpochAndOnNothingElse) {
  EXPECT_EQ(epoch_order(100, chunked(8, 4), 3), epoch_order(100, chunked(8, 4), 3));
  EXPECT_NE(epoch_order(100, chunked(8, 4), 3), epoch_order(100, chunked(8, 4), 4));
  EXPECT_NE(epoch_order(100, {1, true, 1, 1}, 0), epoch_order(100, {2, true, 1, 1}, 0));
}

TEST(EpochOrder, InAChunkedFileAWindowOfSamplesTouchesNoMoreThanItsChunks) {
  // 40 chunks of 10, windows of 4 chunks: each run of 40 samples comes from 4 chunks, each used
  // up in it.
  const auto order = epoch_order(400, chunked(10, 4), 0);
  for (size_t first = 0; first < 400; first += 40) {
    std::map<int64_t, int> used;
    for (size_t i = first; i < first + 40; ++i) ++used[order[i] / 10];
    EXPECT_EQ(used.size(), 4u);
    for (const auto& [chunk, count] : used) EXPECT_EQ(count, 10) << chunk;
  }
}

TEST(EpochOrder, SamplesOfAWindowAreMixedAcrossItsChunks) {
  // Left in order, a window of 4 chunks of 10 changes chunk 3 times in 39 steps. Mixed, neighbours
  // differ with probability 30/39, so 30 changes are expected, with a standard deviation below 3.
  const auto order = epoch_order(40, chunked(10, 4), 0);
  int changes = 0;
  for (size_t i = 1; i < order.size(); ++i) changes += order[i] / 10 != order[i - 1] / 10;
  EXPECT_GT(changes, 18);
}

TEST(EpochOrder, WithoutShufflingItIsTheFileOrder) {
  EXPECT_EQ(epoch_order(4, {0, false, 1, 1}, 9), (std::vector<int64_t>{0, 1, 2, 3}));
}

TEST(EpochOrder, OptionsOutOfRangeAreNamed) {
  EXPECT_ERROR(epoch_order(4, {0, true, 0, 1}, 0), ConfigError, "block of 0 samples");
  EXPECT_ERROR(epoch_order(4, {0, true, 1, 0}, 0), ConfigError, "window of 0 blocks");
  EXPECT_ERROR(GlobalSampler(0, {}), ConfigError, "no samples");
}

TEST(GlobalSampler, TheSequenceIsTheEpochsEndToEnd) {
  GlobalSampler sampler(5, {3});
  auto expected = epoch_order(5, {3}, 0);
  for (const int64_t epoch : {1, 2}) {
    const auto next = epoch_order(5, {3}, epoch);
    expected.insert(expected.end(), next.begin(), next.end());
  }
  EXPECT_EQ(sampler.indices(0, 15), expected);
  EXPECT_EQ(sampler.epoch_of(4), 0);
  EXPECT_EQ(sampler.epoch_of(5), 1);
}

TEST(GlobalSampler, AnyPieceCanBeAskedForInAnyOrder) {
  GlobalSampler sampler(7, {3}), other(7, {3});
  const auto whole = sampler.indices(0, 40);
  for (const int64_t first : {33, 0, 6, 13, 7}) {
    const std::vector<int64_t> piece(whole.begin() + first, whole.begin() + first + 7);
    EXPECT_EQ(other.indices(first, 7), piece);
  }
  EXPECT_TRUE(other.indices(3, 0).empty());
}

// The samples of global step `step`, as the ranks together receive them.
std::vector<int64_t> gathered(int64_t size, int64_t batch, int world, int64_t step) {
  std::vector<int64_t> all;
  for (int rank = 0; rank < world; ++rank) {
    GlobalSampler sampler(size, {11});
    const Range slots = shard(batch, rank, world);
    const auto mine = sampler.indices(step * batch + slots.begin, slots.size());
    all.insert(all.end(), mine.begin(), mine.end());
  }
  return all;
}

TEST(GlobalSampler, AnyCountBatchAndRanksGiveEachSampleOnceAnEpochInOneOrder) {
  for (int64_t size = 1; size <= 50; ++size) {
    GlobalSampler reference(size, {11});
    for (const int64_t batch : {1, 3, 8, 64}) {
      const int64_t steps = 2 * size / batch + 1;
      const auto expected = reference.indices(0, steps * batch);
      for (int world = 1; world <= 4; ++world) {
        std::vector<int64_t> seen;
        for (int64_t step = 0; step < steps; ++step) {
          const auto part = gathered(size, batch, world, step);
          seen.insert(seen.end(), part.begin(), part.end());
        }
        ASSERT_EQ(seen, expected) << size << " samples, batch " << batch << ", ranks " << world;
        const std::set<int64_t> first_epoch(seen.begin(), seen.begin() + size);
        ASSERT_EQ(static_cast<int64_t>(first_epoch.size()), size);
      }
    }
  }
}

}  // namespace
}  // namespace scorenet::data
