// Link fit, timeline, stragglers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/comm/sim_communicator.hpp"
#include "framework/core/error.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/perf/link_model.hpp"
#include "framework/perf/straggler.hpp"
#include "framework/perf/timeline.hpp"

namespace scorenet::perf {
namespace {

using testing::HasSubstr;

TEST(LinkModel, RingForLargeAndTreeForSmallMessages) {
  const LinkModel link{1e-5, 1e9};
  // 64 ranks, 8 bytes: tree 2 * 6 * 10 us = 120 us against the ring's 126 messages.
  EXPECT_NEAR(all_reduce_seconds(link, 64, 8), 120e-6 + 16e-9, 1e-12);
  // 64 MB: ring 1.26 ms + 2 * 63/64 * 64 ms against the tree's 0.12 + 128 ms.
  EXPECT_NEAR(all_reduce_seconds(link, 64, 64'000'000), 1.26e-3 + 126e-3, 1e-9);
  EXPECT_EQ(all_reduce_seconds(link, 1, 1000), 0);
}

TEST(LinkModel, HostsReduceInsideFirst) {
  // 2 hosts of 4: inside 2 * 3/4 * 8 MB at 8 GB/s = 1.5 ms; between 2 * 1/2 * 2 MB at 1
  // GB/s = 2 ms.
  const Cluster cluster{{0, 1e9}, {0, 8e9}, 4};
  EXPECT_NEAR(all_reduce_seconds(cluster, 8, 8'000'000), 1.5e-3 + 2e-3, 1e-12);
}

TEST(LinkModel, TheFitFindsTheLinkThatMadeTheTimings) {
  const LinkModel truth{25e-6, 3e9};
  std::vector<Timing> timings;
  for (const int64_t bytes : {1'000, 100'000, 10'000'000, 100'000'000}) {
    // The ring's formula for 4 ranks.
    timings.push_back(
        {bytes, 6 * truth.latency_s + 1.5 * double(bytes) / truth.bandwidth_bytes_per_s});
  }
  const LinkModel fit = fit_link(timings, 4);
  EXPECT_NEAR(fit.latency_s, 25e-6, 1e-12);
  EXPECT_NEAR(fit.bandwidth_bytes_per_s, 3e9, 1);
  EXPECT_THROW(fit_link({{1, 1.0}}, 4), ConfigError);
  EXPECT_THROW(fit_link(timings, 1), ConfigError);
  // Timings that fall with size, as noise can have it, still give a usable link.
  const LinkModel noisy = fit_link({{1000, 2e-3}, {2000, 1e-3}}, 2);
  EXPECT_GT(noisy.latency_s, 0);
  EXPECT_NEAR(noisy.bandwidth_bytes_per_s, 2000 / 1e-3, 1e-3);  // of the largest message
  // Timings whose line meets 0 below 0: no message is free, whatever the line says. 2
  // (n - 1) = 2 latencies.
  const LinkModel free = fit_link({{1000, 1e-6}, {2000, 4e-6}}, 2);
  EXPECT_NEAR(free.latency_s, 0.5e-6, 1e-12);
  EXPECT_GT(free.bandwidth_bytes_per_s, 0);
}

TEST(LinkModel, MeasuringASimulatedNetworkFindsItsParameters) {
  comm::SimOptions network;
  network.latency_s = 5e-3;
  network.bandwidth_bytes_per_s = 100e6;
  comm::run_simulated(2, network, [](comm::Communicator& c) {
    std::vector<float> memory(1'000'000);
    const LinkModel fit =
        fit_link(measure_all_reduce(c, c, memory.data(), {4, 1'000'000, 4'000'000}, 3), 2);
    EXPECT_NEAR(fit.latency_s, 5e-3, 2e-3);  // sleeping threads wake up late on a busy machine
    EXPECT_NEAR(fit.bandwidth_bytes_per_s, 100e6, 40e6);
  });
}

TEST(Timeline, RanksMergeIntoOneTraceThatIsJson) {
  std::vector<comm::FlightEntry> operations(2);
  operations[0] = {
      0,
      {comm::Collective::all_reduce, 3, "gradient \"0\"", comm::DataType::float32, {}, 100},
      10.5,
      10.75};
  operations[1] = {1, {comm::Collective::barrier, 4, "under way"}, 11, -1};
  write_timeline("timeline_0.json", {0, 2, "host"}, {{"forward", 10, 10.25}}, operations);
  write_timeline("timeline_1.json", {1, 2, "host"}, {}, operations);
  merge_timelines({"timeline_0.json", "timeline_1.json"}, "timeline.json");
  std::ifstream file("timeline.json");
  const auto trace = nlohmann::json::parse(file);
  int forward = 0;
  int gradients = 0;
  for (const auto& e : trace) {
    if (e["name"] == "forward") {
      ++forward;
      EXPECT_EQ(e["pid"], 0);
      EXPECT_EQ(e["ts"], 10e6);
      EXPECT_EQ(e["dur"], 250e3);
    }
    if (e["name"] == "gradient \"0\"") {
      EXPECT_EQ(e["pid"], gradients++);
      EXPECT_EQ(e["args"]["bytes"], 400);
    }
    EXPECT_NE(e["name"], "under way");
  }
  EXPECT_EQ(forward, 1);
  EXPECT_EQ(gradients, 2);
}

TEST(Timeline, FilesThatAreNoneAreNamed) {
  std::ofstream("timeline_bad.json") << "{}\n";
  std::ofstream("timeline_cut.json") << "[\n{\"name\": 1},\n";
  for (const char* path : {"timeline_bad.json", "timeline_cut.json", "timeline_missing.json"}) {
    try {
      merge_timelines({path}, "timeline.json");
      ADD_FAILURE() << path;
    } catch (const DataError& e) {
      EXPECT_THAT(e.what(), HasSubstr(path));
    }
  }
  EXPECT_THROW(write_timeline("no/such/folder.json", {}, {}, {}), files::FileError);
}

TEST(Straggler, IsNamedByRankAndPhase) {
  const std::vector<std::string> phases{"data", "forward", "backward"};
  const auto s =
      find_straggler(phases, {{0.01, 0.31, 0.02}, {0.1, 0.1, 0.1}, {0.2, 0.21, 0.2}}, 0.1);
  ASSERT_TRUE(s.has_value());
  EXPECT_EQ(s->rank, 1);
  EXPECT_EQ(s->phase, "data");
  EXPECT_EQ(describe(*s), "rank 1 is slow in data: 0.310 s a step, median of all ranks 0.020 s");
  const auto of_two = find_straggler({"other"}, {{0.1, 0.2}}, 0.1);
  ASSERT_TRUE(of_two.has_value());
  EXPECT_EQ(of_two->rank, 1);
}

TEST(Straggler, BalancedRanksGiveNoReport) {
  EXPECT_FALSE(find_straggler({"data", "forward"}, {{0.01, 0.012, 0.01}, {0.1, 0.104, 0.1}}, 0.1)
                   .has_value());
  EXPECT_THROW(find_straggler({"data"}, {{0.1}, {0.2}}, 0.1), ConfigError);
  EXPECT_THROW(find_straggler({"data", "x"}, {{0.1}, {0.2, 0.3}}, 0.1), ConfigError);
}

}  // namespace
}  // namespace scorenet::perf
