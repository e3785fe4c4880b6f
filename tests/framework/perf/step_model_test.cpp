// The step model: by hand for small cases, against sleeping ranks for real ones.
#include "framework/perf/step_model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "framework/comm/sim_communicator.hpp"

namespace scorenet::perf {
namespace {

/// Two parameters of 1000 floats (padded to 1008: 4032 bytes), 10 ms of backward each.
StepCosts two_parameters() { return {5e-3, {{1000, 10e-3}, {1000, 10e-3}}, 2e-3, 0}; }

// 2 ranks, no latency: S / B for S bytes; 4032 bytes take 4.032 ms.
const Cluster kMegabyte{{0, 1e6}, {}, 1};
const reduce::BucketCaps kCaps{4096, 4096, 4096};

TEST(StepModel, OnlyTheLastBucketIsExposedWhenTheLinkKeepsUp) {
  const StepPrediction p = predict_step(two_parameters(), kMegabyte, 2, kCaps);
  EXPECT_DOUBLE_EQ(p.alone_s, 27e-3);
  EXPECT_NEAR(p.exposed_s, 4.032e-3, 1e-12);
  EXPECT_NEAR(p.step_s, 31.032e-3, 1e-12);
  EXPECT_NEAR(p.efficiency, 27 / 31.032, 1e-12);
}

TEST(StepModel, OneBucketHidesNothing) {
  EXPECT_NEAR(predict_step(two_parameters(), kMegabyte, 2, {1 << 20, 1 << 20, 1 << 20}).exposed_s,
              8.064e-3, 1e-12);
}

TEST(StepModel, ASlowLinkQueues) {
  // 40.32 ms a bucket: the first starts at 10 ms, the second at 50.32, done at 90.64 of
  // 20 ms backward.
  const Cluster slow{{0, 1e5}, {}, 1};
  EXPECT_NEAR(predict_step(two_parameters(), slow, 2, kCaps).exposed_s, 70.64e-3, 1e-12);
}

TEST(StepModel, OneRankHasNoTrafficAndManyWaitForTheSlowest) {
  StepCosts costs = two_parameters();
  costs.jitter_s = 1e-3;
  EXPECT_EQ(predict_step(costs, kMegabyte, 1, kCaps).efficiency, 1);
  const Cluster fast{{0, 1e15}, {}, 1};
  // sqrt(2 ln 256) = 3.33
  EXPECT_NEAR(predict_step(costs, fast, 256, kCaps).step_s - 27e-3, 3.33e-3, 1e-5);
}

TEST(StepModel, ShardingSendsHalfOfTheTrafficAfterTheOptimizer) {
  StepCosts costs = two_parameters();
  costs.sharded = true;
  // Reduce-scatter of the last bucket 2.016 ms; all-gather of both 2 * 2.016 ms; 1 of the 2 ms of
  // the optimizer saved.
  const StepPrediction p = predict_step(costs, kMegabyte, 2, kCaps);
  EXPECT_NEAR(p.exposed_s, 3 * 2.016e-3, 1e-12);
  EXPECT_NEAR(p.step_s, 27e-3 - 1e-3 + 6.048e-3, 1e-12);
  EXPECT_NEAR(predict_step(costs, kMegabyte, 1, kCaps).step_s, 27e-3, 1e-12);
}

TEST(StepModel, MemoryFallsWithSharding) {
  // 10 weights: weights and gradients whole (80 B), two moments and one EMA (120 B) over 4 ranks.
  EXPECT_EQ(state_bytes(10, 1, 4, false), 200);
  EXPECT_EQ(state_bytes(10, 1, 4, true), 80 + 32);  // 30 elements over 4: 8 each
}

/// 36 M weights in 220 tensors of U-Net-like sizes, on an assumed GPU: forward 15 ms, backward
/// 30 ms, of which each tensor takes a part in proportion to its weights and a constant.
StepCosts unet_36m() {
  StepCosts costs{15e-3, {}, 1e-3, 0};
  double weight = 0;
  for (int i = 0; i < 220; ++i) {
    // Every other tensor a bias or norm; convolutions grow towards the middle of the network.
    const int64_t channels = 128 + 128 * (i < 110 ? i / 55 : (219 - i) / 55);
    const int64_t elements = i % 2 == 0 ? channels : channels * channels * 8;
    costs.parameters.push_back({elements, 0});
    weight += double(elements) + 20'000;
  }
  for (auto& p : costs.parameters) p.backward_s = 30e-3 * (double(p.elements) + 20'000) / weight;
  return costs;
}

TEST(StepModel, AThirtySixMillionWeightNetworkKeeps99PercentAtAThousandRanksAt45GBPerSecond) {
  int64_t elements = 0;
  for (const auto& p : unet_36m().parameters) elements += p.elements;
  EXPECT_NEAR(double(elements), 36e6, 4e6);
  const Cluster fast{{6e-6, 45e9}, {}, 1};
  const auto caps = choose_caps(unet_36m(), fast, 1024);
  EXPECT_GE(predict_step(unet_36m(), fast, 1024, caps).efficiency, 0.99);
  // The chosen cap is no worse than PyTorch's default of 25 MiB after 1 MiB.
  const reduce::BucketCaps ddp{25 << 20, 1 << 20, 25 << 20};
  EXPECT_LE(predict_step(unet_36m(), fast, 1024, caps).step_s,
            predict_step(unet_36m(), fast, 1024, ddp).step_s);
  const auto rows = predict_scaling(unet_36m(), fast, {8, 1024}, 2);
  EXPECT_EQ(rows[1].state_bytes,
            elements * 4 * 6);  // weights, gradients, two moments, two averages
  EXPECT_THAT(scaling_table(rows),
              testing::AllOf(testing::HasSubstr("predicted"), testing::HasSubstr("    1024  ")));
}

void sleep_s(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

/// One step of sleeping ranks: forward, backward with a bucket sent whenever one is
/// full, optimizer.
double sleeping_step(const StepCosts& costs, const reduce::BucketCaps& caps,
                     comm::Communicator& c) {
  std::vector<int64_t> sizes;
  for (const auto& p : costs.parameters) sizes.push_back(p.elements);
  const auto layout = reduce::make_flat_layout(sizes);
  const auto buckets = reduce::plan_buckets(layout, 4, caps);
  c.barrier("start").wait();
  const auto start = comm::Clock::now();
  // Absolute times, so that late wake-ups do not add up: compute takes what it is said to take.
  double planned_s = costs.forward_s;
  std::vector<comm::Work> work;
  for (const auto& bucket : buckets) {
    for (const int64_t p : bucket.parameters) planned_s += costs.parameters[size_t(p)].backward_s;
    std::this_thread::sleep_until(start + std::chrono::duration_cast<comm::Clock::duration>(
                                              std::chrono::duration<double>(planned_s)));
    work.push_back(
        c.all_reduce({nullptr, bucket.count, comm::DataType::float32}, comm::ReduceOp::sum, "b"));
  }
  for (auto& w : work) w.wait();
  sleep_s(costs.optimizer_s);
  return comm::seconds_since(start);
}

TEST(StepModel, AgreesWithSleepingRanksToFivePercent) {
  // 12 parameters of 256 KiB, 10 ms of backward each; a link that hides most of it, and one
  // that does not.
  StepCosts costs{30e-3, std::vector<ParameterCost>(12, {65536, 10e-3}), 10e-3, 0};
  const reduce::BucketCaps caps{int64_t{512} << 10, int64_t{256} << 10, int64_t{256} << 10};
  for (const int ranks : {4, 8, 16}) {
    for (const double bandwidth : {60e6, 15e6}) {
      comm::SimOptions network;
      network.latency_s = 1e-4;
      network.bandwidth_bytes_per_s = bandwidth;
      network.move_data = false;
      // The simulated network knows rings only.
      const StepPrediction p = predict_step(costs, {{1e-4, bandwidth}, {}, 1}, ranks, caps);
      // The least disturbed of up to ten runs: sleeping needs no core, but a busy machine wakes
      // threads late, and never early.
      double least_s = 1e9;
      for (int repeat = 0; repeat < 10 && least_s > 1.05 * p.step_s; ++repeat) {
        std::vector<double> seconds(static_cast<size_t>(ranks));
        comm::run_simulated(ranks, network, [&](comm::Communicator& c) {
          seconds[size_t(c.rank())] = sleeping_step(costs, caps, c);
        });
        least_s = std::min(least_s, *std::max_element(seconds.begin(), seconds.end()));
      }
      EXPECT_NEAR(least_s, p.step_s, 0.05 * p.step_s) << ranks << " ranks, " << bandwidth;
    }
  }
}

}  // namespace
}  // namespace scorenet::perf
