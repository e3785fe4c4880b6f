// Ranks that are frozen, killed or away: the job ends in time, with exit code 5 (a
// launcher's own for a killed rank) and a sentence that names the rank. Each case is a real
// mpirun of heartbeat_program.
#include "framework/comm/heartbeat.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "framework/core/error.hpp"

namespace scorenet::comm {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

struct Outcome {
  int code = 0;
  double seconds = 0;
  std::string output;
};

Outcome run_case(const std::string& name) {
  const std::string command = std::string("timeout 60 ") + MPIRUN + " --oversubscribe -n 3 " +
                              PROGRAM + " " + name + " 2>&1";
  const auto start = Clock::now();
  Outcome outcome;
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> text{};
  while (std::fgets(text.data(), int(text.size()), pipe) != nullptr) outcome.output += text.data();
  outcome.code = WEXITSTATUS(pclose(pipe));
  outcome.seconds = seconds_since(start);
  return outcome;
}

// The limit is 1.5 s; the requirement is an end within the limit plus 5 s, on top of some seconds
// for mpirun itself.
constexpr double kBound = 1.5 + 5 + 5;

TEST(Heartbeat, AFrozenRankIsNamedAndTheJobEndsWithCodeFive) {
  const Outcome o = run_case("freeze_one");
  EXPECT_EQ(o.code, 5) << o.output;
  EXPECT_LT(o.seconds, kBound);
  EXPECT_THAT(o.output, AllOf(HasSubstr("rank 1 on "), HasSubstr("is frozen or unreachable"),
                              HasSubstr("phase train, step 17")));
  // Rank zero, which watches all, has left its flight record.
  std::ifstream record("heartbeat_record_freeze_one_0");
  std::stringstream text;
  text << record.rdbuf();
  EXPECT_THAT(text.str(), AllOf(HasSubstr("\"rank\": 0"), HasSubstr("\"tag\": \"after\""),
                                HasSubstr("\"end_s\": -1")));
}

TEST(Heartbeat, AFrozenRankZeroIsNamedByTheOthers) {
  const Outcome o = run_case("freeze_zero");
  EXPECT_EQ(o.code, 5) << o.output;
  EXPECT_LT(o.seconds, kBound);
  EXPECT_THAT(o.output, HasSubstr("rank 0 on "));
}

TEST(Heartbeat, ABusyRankZeroIsNoFrozenOne) {
  const Outcome o = run_case("evaluate");
  EXPECT_EQ(o.code, 0) << o.output;
  EXPECT_THAT(o.output, AllOf(HasSubstr("rank 0 is through"), HasSubstr("rank 2 is through"),
                              Not(HasSubstr("frozen"))));
}

TEST(Heartbeat, AKilledRankEndsTheJob) {
  const Outcome o = run_case("kill_one");
  EXPECT_NE(o.code, 0) << o.output;
  EXPECT_LT(o.seconds, kBound);
}

TEST(Heartbeat, ARankThatFreezesWhileTheOthersLeaveIsNamed) {
  const Outcome o = run_case("freeze_leaving");
  EXPECT_EQ(o.code, 5) << o.output;
  EXPECT_LT(o.seconds, kBound);
  EXPECT_THAT(o.output, AllOf(HasSubstr("rank 1 on "), HasSubstr("is frozen or unreachable")));
}

TEST(Heartbeat, ARankThatFreezesAfterItsLastBeatEndsTheJob) {
  const Outcome o = run_case("freeze_at_end");
  EXPECT_EQ(o.code, 5) << o.output;
  EXPECT_LT(o.seconds, kBound);
  EXPECT_THAT(o.output, AllOf(HasSubstr("rank 0 is through"),
                              HasSubstr("MPI did not end within 1.5 s (comm.heartbeat_limit_s)")));
}

TEST(Heartbeat, ARankThatWorksOnWhileTheOthersLeaveIsWaitedFor) {
  const Outcome o = run_case("slow_end");
  EXPECT_EQ(o.code, 0) << o.output;
  EXPECT_GT(o.seconds, 4);
}

// Nobody is left to read the sentence, or to tell the exit code; but the hosts are free.
TEST(Heartbeat, RanksEndThoughTheirLauncherIsFrozen) {
  const auto start = Clock::now();
  const std::string script = std::string(MPIRUN) + " --oversubscribe -n 3 " + PROGRAM +
                             " freeze_launcher & launcher=$!; sleep 2; n=0; "
                             "while pgrep -f '^" +
                             PROGRAM +
                             " freeze_launcher' >pids && "
                             "[ $((n += 1)) -lt 300 ]; do sleep 0.1; done; "
                             "grep -q '^State:.T' /proc/$launcher/status; frozen=$?; "
                             "kill -9 $launcher $(cat pids); exit $((frozen + (n >= 300)))";
  EXPECT_EQ(WEXITSTATUS(std::system(script.c_str())), 0);
  EXPECT_LT(seconds_since(start), kBound);
}

TEST(Heartbeat, ALivingRankThatDoesNotComeIsFoundByTheDeadlineOfThePhase) {
  const Outcome o = run_case("absent_one");
  EXPECT_EQ(o.code, 5) << o.output;
  EXPECT_LT(o.seconds, kBound);
  EXPECT_THAT(o.output, AllOf(HasSubstr("barrier 1 (after)"), HasSubstr("phase train: 2 s"),
                              Not(HasSubstr("is frozen or"))));
}

TEST(FlightRecorder, KeepsTheLastOperationsAndEscapesItsTags) {
  FlightRecorder recorder(3);
  int64_t first = 0;
  for (int i = 0; i < 5; ++i) {
    const int64_t id = recorder.start({Collective::barrier, i, "a \"quoted\"\n tag"});
    if (i == 0) first = id;
    if (i != 4) recorder.finish(id);
  }
  recorder.finish(first);  // overwritten long ago: nothing happens
  const auto entries = recorder.entries();
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].operation.sequence, 2);
  EXPECT_GE(entries[0].end_s, entries[0].start_s);
  EXPECT_EQ(entries[2].end_s, -1);
  recorder.dump();  // no path: nowhere
  recorder.set_dump("flight_recorder_test.jsonl", {1, 2, "host"});
  recorder.dump();
  std::ifstream file("flight_recorder_test.jsonl");
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line, "{\"rank\": 1, \"size\": 2, \"host\": \"host\"}");
  std::getline(file, line);
  EXPECT_THAT(line, HasSubstr("\"tag\": \"a \\\"quoted\\\"\\u000a tag\""));
  EXPECT_THROW(FlightRecorder(0), ConfigError);
}

}  // namespace
}  // namespace scorenet::comm
