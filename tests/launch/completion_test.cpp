// What a commit promises is there after the next start, however the last one ended: snapshots,
// evaluation, its numbers; and no temporaries of the dead.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "framework/core/host_name.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// File name -> bytes, of one folder.
std::map<std::string, std::string> files_in(const fs::path& folder) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) all[entry.path().filename().string()] = text_of(entry.path());
  }
  return all;
}

std::vector<std::string> sorted_lines(const fs::path& path) {
  auto lines = lines_of(path);
  lines.erase(std::remove_if(lines.begin(), lines.end(),
                             [](const auto& line) {  // a tick's speed is another each time
                               return line.find("images_per_sec") != std::string::npos;
                             }),
              lines.end());
  std::sort(lines.begin(), lines.end());
  return lines;
}

double bound_in(const fs::path& report) {
  const auto json = nlohmann::json::parse(text_of(report), nullptr, false);
  if (!json.is_object()) return -1;
  return json.at("metrics").begin().value().at("nats_mean").get<double>();
}

struct How {
  int ranks;
  const char* keys;
};

class Completion : public testing::TestWithParam<How> {
 protected:
  std::string train(const std::string& more = "") const {
    const std::string program = GetParam().ranks > 1 ? mpirun(GetParam().ranks) : "SCORENET";
    return program + " train " + tiny_.config + " --outdir " + dir_.string() +
           " --checkpoint.every 5 --train.steps 10 --eval.every 10 " + GetParam().keys + " " + more;
  }
  void finish_run() {
    const Outcome outcome = run(train());
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }

  Folder folder_;
  TinyRun tiny_ = make_tiny_run(folder_);
  fs::path dir_ = folder_.path() / "r";
  const fs::path snapshot_ = dir_ / "snapshots" / "network-0000010-ema0.9.safetensors";
  const fs::path report_ = dir_ / "eval" / "eval-0000010.json";
};

TEST_P(Completion, WhatTheLastStepLacksIsMadeAndIsTheSame) {
  finish_run();
  const auto snapshots = files_in(dir_ / "snapshots"), pictures = files_in(dir_ / "samples");
  const auto numbers = sorted_lines(dir_ / "metrics.csv");
  const double bound = bound_in(report_);
  ASSERT_EQ(snapshots.count(snapshot_.filename().string()), 1u);

  fs::remove(snapshot_);
  fs::remove(report_);
  const Outcome again = run(train());
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("had no network-0000010-ema0.9.safetensors"));
  EXPECT_TRUE(files_in(dir_ / "snapshots") == snapshots);
  EXPECT_EQ(bound_in(report_), bound);
  EXPECT_EQ(sorted_lines(dir_ / "metrics.csv"), numbers);  // none missing, none twice

  // A part of an evaluation is none.
  fs::remove(dir_ / "samples" / "grid-0000010.png");
  EXPECT_EQ(run(train()).exit_code, 0);
  EXPECT_TRUE(files_in(dir_ / "samples") == pictures);
  EXPECT_EQ(sorted_lines(dir_ / "metrics.csv"), numbers);

  const Outcome nothing_left = run(train());
  EXPECT_EQ(nothing_left.exit_code, 0);
  EXPECT_THAT(nothing_left.out, testing::Not(HasSubstr("had no ")));
}

TEST_P(Completion, AFolderInASnapshotsPlaceStopsEveryStartUntilItIsGone) {
  fs::create_directories(snapshot_ / "in the way");
  for (int start = 0; start < 2; ++start) {
    const Outcome outcome = run(train());
    EXPECT_EQ(outcome.exit_code, 6);
    EXPECT_THAT(outcome.err, HasSubstr("network-0000010-ema0.9.safetensors"));
  }
  fs::remove_all(snapshot_);
  finish_run();
  EXPECT_TRUE(fs::is_regular_file(snapshot_));
  EXPECT_TRUE(fs::is_regular_file(report_));
}

INSTANTIATE_TEST_SUITE_P(, Completion,
                         testing::Values(How{1, ""}, How{2, "--train.shard_optimizer true"}),
                         [](const auto& info) {
                           return info.param.ranks == 1 ? "OneRank" : "TwoRanksSharded";
                         });

class Killed : public Completion {};

// Killed as soon as a checkpoint appears, before or while its snapshots are written,
// again and again.
TEST_P(Killed, BetweenCheckpointAndSnapshotTheRunLosesNothing) {
  finish_run();
  const auto expected = files_in(dir_ / "snapshots");
  const auto numbers = sorted_lines(dir_ / "metrics.csv");
  dir_ = folder_.path() / "killed";
  for (const char* step : {"0000005", "0000010"}) {
    Background start(train());
    const fs::path latest = dir_ / "checkpoints" / "latest";
    for (int i = 0; i < 60'000 && text_of(latest).find(step) == std::string::npos; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ::kill(-start.pid(), SIGKILL);
    start.finish(60);
  }
  finish_run();
  EXPECT_TRUE(files_in(dir_ / "snapshots") == expected);
  EXPECT_EQ(sorted_lines(dir_ / "metrics.csv"), numbers);
  for (const auto& entry : fs::recursive_directory_iterator(dir_))
    EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr(".tmp-")));
}

INSTANTIATE_TEST_SUITE_P(, Killed, testing::Values(How{1, ""}));

class Temporaries : public Completion {};

TEST_P(Temporaries, OfTheDeadGoFromEveryFolderAndTheLivingKeepTheirs) {
  finish_run();
  Background dead("true");
  const std::string host = host_name(), pid = std::to_string(dead.pid());
  dead.finish(10);
  const std::string gone = ".x.tmp-" + host + "-" + pid + "-0";
  const std::string kept = ".x.tmp-" + host + "-" + std::to_string(::getpid()) + "-0";
  const std::vector<fs::path> folders = {dir_, dir_ / "snapshots", dir_ / "samples", dir_ / "eval",
                                         dir_ / "checkpoints"};
  for (const auto& folder : folders)
    for (const auto& name : {gone, kept}) std::ofstream(folder / name) << "half";
  finish_run();
  for (const auto& folder : folders) {
    EXPECT_FALSE(fs::exists(folder / gone)) << folder;
    EXPECT_TRUE(fs::exists(folder / kept)) << folder;
  }
}

INSTANTIATE_TEST_SUITE_P(, Temporaries, testing::Values(How{1, ""}));

}  // namespace
}  // namespace scorenet::test
