// What a run tells of its own time, and what plan makes of a config: through the program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

class Plan : public testing::Test {
 protected:
  Plan() : tiny_(make_tiny_run(folder_)) {}
  json parsed(const std::string& name) const { return json::parse(text_of(folder_ / name)); }

  Folder folder_;
  TinyRun tiny_;
};

TEST_F(Plan, PredictsFromAGivenLinkAndStepTime) {
  const Outcome outcome =
      run("SCORENET plan " + tiny_.config +
          " --bandwidth 1 --latency 10 --step-time 100 --batch 3 --ranks 1,2,64 --ema.decays "
          "0.9,0.99 --json " +
          (folder_ / "plan.json"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("predicted (not measured)"), HasSubstr("(given)")));
  const json plan = parsed("plan.json");
  EXPECT_EQ(plan["predicted"], true);
  EXPECT_NEAR(plan["step"]["seconds"].get<double>(), 0.1, 1e-9);
  const auto& rows = plan["predictions"];
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["efficiency"], 1.0);
  EXPECT_NEAR(rows[0]["images_per_sec"].get<double>(), 30, 1e-6);  // 3 images in 100 ms
  // Two ranks, all traffic exposed at worst: 2 latencies and the bytes of all weights once,
  // at 1 GB/s.
  const double weights = plan["weights"];
  EXPECT_GT(rows[1]["efficiency"].get<double>(), 0.1 / (0.1 + 20e-6 + 4.4 * weights * 1e-9));
  EXPECT_LT(rows[1]["efficiency"].get<double>(), 1);
  EXPECT_LT(rows[2]["efficiency"].get<double>(), rows[1]["efficiency"].get<double>());
  // Weights, gradients, two moments and two averages of 4 bytes.
  EXPECT_EQ(rows[2]["state_bytes_a_rank"].get<double>(), 24 * weights);
}

TEST_F(Plan, FindsTheBatchThatFitsIntoTheMemory) {
  const auto memory = [&](const std::string& keys) {
    const Outcome outcome =
        run("SCORENET plan " + tiny_.config + " --data.path '' --bandwidth 1 --ranks 1,2 " + keys +
            " --json " + (folder_ / "plan.json") + " --force");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("images at once"));
    return parsed("plan.json")["memory"];
  };
  const json small = memory("--shape 1,32,32 --batch 64"),
             large = memory("--shape 1,64,64 --batch 64");
  const double per_small = small["bytes_an_image"], per_large = large["bytes_an_image"];
  EXPECT_GT(per_small, 32 * 32 * 4 * 4);  // at least a few activations of the image's size
  EXPECT_GT(per_large / per_small, 2.5);  // four times the pixels
  // All of it is used but a tenth.
  const double used = large["largest_batch_a_rank"].get<double>() * per_large;
  EXPECT_LT(used, 0.91 * large["available_bytes"].get<double>());
  EXPECT_GT(used, 0.8 * large["available_bytes"].get<double>());
}

TEST_F(Plan, KnowsTheMemoryOfASaveThatARunTakes) {
  for (const std::string keys : {"", " --checkpoint.background false"}) {
    std::filesystem::remove_all(folder_ / "run");
    Outcome outcome = run("SCORENET train " + tiny_.config + " --train.steps 1 --outdir " +
                          (folder_ / "run") + keys);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const std::string log = text_of(folder_ / "run/log.txt");
    const std::string before = "from a copy of ";
    const size_t at = log.find(before);
    const double megabytes =
        at == std::string::npos ? 0 : std::stod(log.substr(at + before.size()));
    EXPECT_EQ(megabytes > 0, keys.empty()) << log;
    outcome = run("SCORENET plan " + tiny_.config + " --bandwidth 1 --ranks 1 --json " +
                  (folder_ / "plan.json") + " --force" + keys);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    // The run's has padding between the parameters.
    EXPECT_NEAR(parsed("plan.json")["memory"]["save_copy_bytes"].get<double>(), 1e6 * megabytes,
                0.05 * 1e6 * megabytes);
  }
}

TEST_F(Plan, MeasuresTheLinkBetweenTheRanksPresentAndNeedsNoData) {
  const Outcome outcome =
      run(mpirun(2) + " plan " + tiny_.config +
          " --data.path '' --shape 1,8,8 --ranks 2,4 --json " + (folder_ / "plan.json"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const json plan = parsed("plan.json");
  EXPECT_EQ(plan["link"]["measured"], true);
  EXPECT_GT(plan["link"]["bandwidth_gb_per_s"].get<double>(), 0);
  EXPECT_EQ(plan["batch_a_rank"], 6);
  EXPECT_GT(plan["step"]["backward_s"].get<double>(), 0);
}

TEST_F(Plan, SaysWhatIsMissing) {
  const Outcome no_link = run("SCORENET plan " + tiny_.config);
  EXPECT_EQ(no_link.exit_code, 2);
  EXPECT_THAT(no_link.err, AllOf(HasSubstr("one rank has no link"), HasSubstr("--bandwidth")));
  const Outcome no_shape = run("SCORENET plan " + tiny_.config + " --data.path '' --bandwidth 1");
  EXPECT_EQ(no_shape.exit_code, 2);
  EXPECT_THAT(no_shape.err, HasSubstr("--shape"));
}

TEST_F(Plan, ATracedRunLeavesATimelineARankThatMergesIntoOne) {
  const std::string start =
      mpirun(2) + " train " + tiny_.config + " --outdir " + (folder_ / "run") +
      " --eval.every 0 --run.timeline 3 --comm.bucket_mb 0.01 --comm.first_bucket_mb 0.002 "
      "--comm.last_bucket_mb 0.002";
  const Outcome trained = run(start);
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const Outcome merged =
      run("SCORENET timeline " + (folder_ / "run/timeline/rank0.json") + " " +
          (folder_ / "run/timeline/rank1.json") + " --out " + (folder_ / "trace.json"));
  ASSERT_EQ(merged.exit_code, 0) << merged.err;
  std::map<std::string, int> spans[2];
  for (const json& event : parsed("trace.json")) {
    if (event["ph"] == "X") ++spans[event["pid"].get<int>()][event["name"]];
  }
  for (auto& rank : spans) {
    for (const char* phase : {"data", "forward", "backward"}) EXPECT_EQ(rank[phase], 3) << phase;
    EXPECT_EQ(rank["communication"], 3);
    EXPECT_EQ(rank["gradient bucket 1"], 3);
    EXPECT_EQ(rank["bucket 1 under way"], 3);
  }
  const Outcome missing = run("SCORENET timeline nowhere.json --out " + (folder_ / "t.json"));
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.err, HasSubstr("nowhere.json"));
}

TEST_F(Plan, StatusLinesSayWhereTheTimeGoes) {
  ASSERT_EQ(run(mpirun(2) + " train " + tiny_.config + " --outdir " + (folder_ / "run") +
                " --eval.every 0 --train.steps 4 --run.tick 4 --comm.bucket_mb 0")
                .exit_code,
            0);
  const json tick = json::parse(lines_of(folder_ / "run/stats.jsonl").back());
  double sum = 0;
  for (const char* phase : {"data", "forward", "backward", "update", "other", "communication"})
    sum += tick["phase_sec"][phase].get<double>();
  // Phases follow one another without gap, from the wait for data to the end of the step.
  EXPECT_GT(sum, 0);
  EXPECT_LE(4 * sum, tick["sec_per_tick"].get<double>() * 1.01);
  EXPECT_TRUE(tick.contains("straggler"));
  EXPECT_THAT(text_of(folder_ / "run/log.txt"), HasSubstr("buckets of at most"));
  EXPECT_THAT(text_of(folder_ / "run/log.txt"), HasSubstr("GB/s per rank and a backward pass of"));
}

}  // namespace
}  // namespace scorenet::test
