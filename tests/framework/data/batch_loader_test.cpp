// The loader delivers by step: what arrives does not depend on timing, depth, ranks or
// where it began.
#include "framework/data/batch_loader.hpp"

#include <atomic>
#include <chrono>

#include "framework/data/transform.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::data {
namespace {

// Sample i is the image [[2 i, 2 i + 1]] with label i: a mirrored image shows.
Batch numbered(const std::vector<int64_t>& indices) {
  const auto i = torch::tensor(indices, torch::kInt64);
  return {torch::stack({2 * i, 2 * i + 1}, 1).to(torch::kUInt8).view({-1, 1, 1, 2}), i, indices};
}

constexpr int64_t kSize = 23;
GlobalSampler sampler() { return GlobalSampler(kSize, {4}); }

TEST(BatchLoader, StepKHoldsPositionsKBToKPlusOneBOfTheSequence) {
  BatchLoader loader(numbered, sampler(), {.global_batch = 5});
  auto reference = sampler();
  for (int64_t step = 0; step < 12; ++step) {
    const auto loaded = loader.next();
    EXPECT_EQ(loaded.step, step);
    EXPECT_EQ(loaded.slots, (Range{0, 5}));
    EXPECT_EQ(loaded.batch.indices, reference.indices(step * 5, 5));
    EXPECT_TRUE(torch::equal(loaded.batch.labels, torch::tensor(loaded.batch.indices)));
  }
}

TEST(BatchLoader, RanksTogetherReceiveTheGlobalBatchFlipsIncluded) {
  for (int world = 1; world <= 4; ++world) {
    LoaderOptions options{.global_batch = 6, .horizontal_flip = true, .seed = 9};
    BatchLoader whole(numbered, sampler(), options, 3);
    const auto expected = whole.next();
    std::vector<torch::Tensor> parts;
    for (int rank = 0; rank < world; ++rank) {
      options.rank = rank;
      options.world_size = world;
      BatchLoader loader(numbered, sampler(), options, 3);
      parts.push_back(loader.next().batch.examples);
    }
    EXPECT_TRUE(torch::equal(torch::cat(parts), expected.batch.examples)) << world;
  }
}

TEST(BatchLoader, ARankWithoutSlotsReceivesEmptyBatches) {
  BatchLoader loader(numbered, sampler(),
                     {.global_batch = 2, .rank = 3, .world_size = 4, .horizontal_flip = true});
  EXPECT_EQ(loader.next().batch.examples.sizes(), (std::vector<int64_t>{0, 1, 1, 2}));
}

TEST(BatchLoader, BeginningAnywhereAndSeekingGiveTheSameBatches) {
  BatchLoader straight(numbered, sampler(),
                       {.global_batch = 4, .depth = 1, .horizontal_flip = true});
  std::vector<torch::Tensor> expected;
  for (int i = 0; i < 10; ++i) expected.push_back(straight.next().batch.examples);
  BatchLoader resumed(numbered, sampler(), {.global_batch = 4, .depth = 7, .horizontal_flip = true},
                      6);
  EXPECT_TRUE(torch::equal(resumed.next().batch.examples, expected[6]));
  for (const int64_t step : {2, 9, 0}) {
    resumed.seek(step);
    const auto loaded = resumed.next();
    EXPECT_EQ(loaded.step, step);
    EXPECT_TRUE(torch::equal(loaded.batch.examples, expected[static_cast<size_t>(step)]));
  }
}

TEST(BatchLoader, ReadsAheadNoFurtherThanItsDepth) {
  std::atomic<int> reads = 0;
  BatchLoader loader(
      [&](const auto& indices) {
        ++reads;
        return numbered(indices);
      },
      sampler(), {.global_batch = 1, .depth = 3});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (reads < 4 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(reads, 4);  // three in the queue and one in hand
}

TEST(BatchLoader, ASlowReaderShowsAsDataWait) {
  // The consumer takes no time, so nearly all of 6 reads of 50 ms is waited for.
  const auto slow = [](const auto& indices) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return numbered(indices);
  };
  const auto start = std::chrono::steady_clock::now();
  BatchLoader loader(slow, sampler(), {.global_batch = 2});
  double sum = 0;
  for (int i = 0; i < 6; ++i) sum += loader.next().wait_seconds;
  const double elapsed =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_DOUBLE_EQ(sum, loader.wait_seconds());
  EXPECT_GE(elapsed, 0.3);
  // The consumer only waits, so all but the thread's start is data wait: within 5 % of
  // the elapsed time.
  EXPECT_GT(sum, 0.95 * elapsed);
  EXPECT_LE(sum, elapsed);
}

TEST(BatchLoader, AFastReaderBehindASlowConsumerIsNotWaitedFor) {
  BatchLoader loader(numbered, sampler(), {.global_batch = 2});
  loader.next();
  const double before = loader.wait_seconds();
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
    loader.next();
  }
  EXPECT_LT(loader.wait_seconds() - before, 0.05);  // of 0.2 s spent elsewhere
}

TEST(BatchLoader, TheReadersErrorIsRethrownAtItsStepAndAfter) {
  int reads = 0;
  const auto failing = [&](const auto& indices) {
    if (++reads == 3) throw DataError("disk on fire");
    return numbered(indices);
  };
  BatchLoader loader(failing, sampler(), {.global_batch = 2});
  EXPECT_EQ(loader.next().step, 0);
  EXPECT_EQ(loader.next().step, 1);
  EXPECT_ERROR(loader.next(), DataError, "disk on fire");
  EXPECT_ERROR(loader.next(), DataError, "disk on fire");
  loader.seek(2);
  EXPECT_EQ(loader.next().step, 2);
}

TEST(BatchLoader, DestructionWaitsForTheReadInProgressOnly) {
  std::atomic<bool> reading = false;
  auto loader = std::make_unique<BatchLoader>(
      [&](const auto& indices) {
        reading = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        reading = false;
        return numbered(indices);
      },
      sampler(), LoaderOptions{.global_batch = 1});
  loader->next();
  loader.reset();
  EXPECT_FALSE(reading);
}

TEST(BatchLoader, OptionsOutOfRangeAreNamed) {
  const auto make = [](const LoaderOptions& options, int64_t step) {
    BatchLoader(numbered, sampler(), options, step);
  };
  EXPECT_ERROR(make({.global_batch = 0}, 0), ConfigError, "global batch = 0");
  EXPECT_ERROR(make({.depth = 0}, 0), ConfigError, "depth = 0");
  EXPECT_ERROR(make({}, -1), ConfigError, "first step = -1");
  EXPECT_ERROR(make({.rank = 2, .world_size = 2}, 0), ConfigError, "rank 2 of 2");
}

}  // namespace
}  // namespace scorenet::data
