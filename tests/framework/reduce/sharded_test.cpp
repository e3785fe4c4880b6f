// State shared out over ranks, and sums that do not know how many ranks there are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <mutex>

#include "framework/comm/sim_communicator.hpp"
#include "framework/comm/single_communicator.hpp"
#include "framework/core/error.hpp"
#include "framework/reduce/canonical_sum.hpp"
#include "framework/reduce/sharded_adamw.hpp"

namespace scorenet::reduce {
namespace {

using comm::Communicator;
using comm::run_simulated;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kTotal = 101;  // prime: divides by no rank count

torch::Tensor start() { return torch::cos(torch::arange(kTotal).to(torch::kFloat32)); }
/// Rank r of n holds a share of the gradient; the shares sum to sin(i + step).
torch::Tensor gradient(int step) {
  return torch::sin(torch::arange(kTotal).to(torch::kFloat32) + step);
}

AdamWOptions options() { return {0.9, 0.99, 1e-8, 0.1, {0.9, 0.99}}; }

struct Outcome {
  torch::Tensor parameters;
  AdamWState state;
};

/// Steps first..last-1 on n ranks from a given point (or from the start).
Outcome run(int n, int first, int last, const Outcome* from) {
  Outcome result;
  std::mutex mutex;
  const auto errors = run_simulated(n, {}, [&](Communicator& c) {
    const auto flat = torch::zeros({sharded_total(kTotal, n)});
    flat.narrow(0, 0, kTotal).copy_(from ? from->parameters : start());
    ShardedAdamW optimizer(flat, kTotal, c, options());
    if (from) optimizer.load(from->state);
    for (int step = first; step < last; ++step) {
      const auto g = torch::zeros_like(flat);
      g.narrow(0, 0, kTotal).copy_(gradient(step) / n);
      const double norm = optimizer.reduce(g);
      EXPECT_NEAR(norm, gradient(step).norm().item<double>(), 1e-5 * norm);
      optimizer.step(0.01, 0.5);
    }
    const AdamWState state = optimizer.state();
    const std::lock_guard lock(mutex);
    if (c.rank() == 0) result = {flat.narrow(0, 0, kTotal).clone(), state};
  });
  EXPECT_THAT(errors, Each(IsEmpty()));
  return result;
}

void expect_near(const Outcome& a, const Outcome& b) {
  // Sums of n shares differ by roundings of 2^-24; Adam's step is bounded by the learning rate.
  EXPECT_TRUE(torch::allclose(a.parameters, b.parameters, 1e-5, 1e-6));
  EXPECT_TRUE(torch::allclose(a.state.first_moment, b.state.first_moment, 1e-5, 1e-6));
  EXPECT_TRUE(torch::allclose(a.state.second_moment, b.state.second_moment, 1e-5, 1e-6));
  for (size_t i = 0; i < 2; ++i)
    EXPECT_TRUE(torch::allclose(a.state.ema[i], b.state.ema[i], 1e-5, 1e-6));
}

TEST(ShardedAdamW, EqualsLibTorchsAdamWOnOneRank) {
  auto p = start().requires_grad_();
  torch::optim::AdamW reference(
      {p}, torch::optim::AdamWOptions(0.01).betas({0.9, 0.99}).eps(1e-8).weight_decay(0.1));
  auto ema = start();
  for (int step = 0; step < 10; ++step) {
    p.mutable_grad() = gradient(step) * 0.5;
    reference.step();
    ema = 0.99 * ema + 0.01 * p.detach();
  }
  const Outcome one = run(1, 0, 10, nullptr);
  EXPECT_TRUE(torch::allclose(one.parameters, p.detach(), 1e-5, 1e-6));
  EXPECT_TRUE(torch::allclose(one.state.ema[1], ema, 1e-5, 1e-6));
}

TEST(ShardedAdamW, GivesTheSameWeightsMomentsAndEmaAtAnyRankCount) {
  const Outcome one = run(1, 0, 10, nullptr);
  for (const int n : {2, 3, 4}) expect_near(run(n, 0, 10, nullptr), one);
}

TEST(ShardedAdamW, ItsStateGoesFromThreeRanksToTwo) {
  const Outcome half = run(3, 0, 5, nullptr);
  EXPECT_EQ(half.state.step, 5);
  EXPECT_EQ(half.state.first_moment.numel(), kTotal);
  expect_near(run(2, 5, 10, &half), run(1, 0, 10, nullptr));
}

TEST(ShardedAdamW, WrongSizesAreNamed) {
  const auto alone = comm::make_single_communicator();
  try {
    ShardedAdamW(torch::zeros({kTotal}), kTotal, *alone, options());
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_THAT(e.what(), testing::AllOf(HasSubstr("(101)"), HasSubstr("(112)")));
  }
  ShardedAdamW optimizer(torch::zeros({112}), kTotal, *alone, options());
  EXPECT_THROW(optimizer.load(AdamWState{}), ShapeError);
  EXPECT_THROW(optimizer.reduce(torch::zeros({3})), ShapeError);
}

/// The canonical sum of 8 shards' pseudo-random gradients, as every rank of n sees it.
std::vector<torch::Tensor> canonical(int n) {
  std::vector<torch::Tensor> result(static_cast<size_t>(n));
  const auto errors = run_simulated(n, {}, [&](Communicator& c) {
    const auto flat = torch::zeros({1000});
    CanonicalSum sum(flat, c);
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
      run_simulated(3, {}, [](Communicator& c) { CanonicalSum(torch::zeros({4}), c); });
  EXPECT_THAT(errors,
              Each(testing::AllOf(HasSubstr("= 8 with 3 ranks"), HasSubstr("power of two"))));
  const auto alone = comm::make_single_communicator();
  CanonicalSum sum(torch::zeros({4}), *alone, 2);
  EXPECT_THROW(sum.finish(), CommError);
  sum.add_shard();
  sum.add_shard();
  EXPECT_THROW(sum.add_shard(), CommError);
  EXPECT_THROW(CanonicalSum(torch::zeros({4}), *alone, 6), ConfigError);
  EXPECT_THROW(CanonicalSum(torch::zeros({4}, torch::kInt64), *alone), ShapeError);
}

}  // namespace
}  // namespace scorenet::reduce
