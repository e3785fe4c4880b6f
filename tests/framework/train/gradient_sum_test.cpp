// The three ways to sum gradients, against one rank and against each other.
#include "framework/train/gradient_sum.hpp"

#include "tests/framework/train/sim_training.hpp"

namespace scorenet::train {
namespace {

using testing::ElementsAre;

std::vector<std::vector<int64_t>> cut(int64_t local, int64_t sums, int64_t micro) {
  std::vector<std::vector<int64_t>> all;
  for (const Piece& p : cut_share(local, sums, micro))
    all.push_back({p.first, p.count, p.starts_sum, p.ends_sum});
  return all;
}

TEST(CutShare, PiecesOfAStretchAreSummedTogether) {
  EXPECT_THAT(cut(5, 1, 0), ElementsAre(ElementsAre(0, 5, 1, 1)));
  EXPECT_THAT(cut(5, 1, 2), ElementsAre(ElementsAre(0, 2, 1, 0), ElementsAre(2, 2, 0, 0),
                                        ElementsAre(4, 1, 0, 1)));
  EXPECT_THAT(cut(4, 2, 0), ElementsAre(ElementsAre(0, 2, 1, 1), ElementsAre(2, 2, 1, 1)));
  EXPECT_THAT(cut(0, 1, 3), ElementsAre());
}

// float32 sums in another order: 3 steps of Adam at 0.01 enlarge rounding to some 1e-5.
constexpr double kRounding = 1e-4;

TEST(GradientSum, AnyNumberOfRanksTakesTheStepsOfOne) {
  const auto one = weights_after(3, 1, sim_config());
  const auto expect_same = [&](const std::string& what, const config::Config& config) {
    for (const int ranks : {2, 3, 4}) {
      const auto some = weights_after(3, ranks, config);
      EXPECT_TRUE(torch::allclose(some, one, kRounding, kRounding)) << ranks << " ranks, " << what;
    }
  };
  auto config = sim_config();
  config.train.uneven = true;
  for (const char* overlap : {"on", "off"}) {
    config.comm.overlap = overlap;
    expect_same(std::string("overlap ") + overlap, config);
  }
  config.train.micro_batch = 1;
  expect_same("micro-batches", config);
  config.train.shard_optimizer = true;
  expect_same("sharded", config);
  // Not by standing still.
  EXPECT_FALSE(torch::allclose(one, weights_after(0, 1, sim_config()), 1e-3, 1e-3));
}

TEST(GradientSum, CanonicalHasTheSameBitsAtAnyNumberOfRanks) {
  auto config = sim_config();
  config.comm.canonical = true;
  config.comm.virtual_shards = 4;
  const auto one = weights_after(3, 1, config);
  for (const int ranks : {2, 4}) EXPECT_TRUE(torch::equal(weights_after(3, ranks, config), one));
  EXPECT_TRUE(torch::allclose(one, weights_after(3, 1, sim_config()), kRounding, kRounding));
}

TEST(GradientSum, ShardedKeepsAPartOfTheStateOnEachRank) {
  auto config = sim_config();
  config.train.shard_optimizer = true;
  on_ranks(2, [&](comm::Communicator& comm) {
    SimTraining training(config, comm);
    for (int64_t k = 0; k < 2; ++k) training.run(k);
    for (const StateBuffer& buffer : training.update.buffers()) {
      EXPECT_EQ(buffer.kind, StateBuffer::Kind::sharded) << buffer.prefix;
      EXPECT_EQ(2 * buffer.values.numel(), training.parameters.values().numel()) << buffer.prefix;
    }
  });
}

}  // namespace
}  // namespace scorenet::train
