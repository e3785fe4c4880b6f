// A job as its surroundings treat it: signals at every moment, closed pipes, limits, a second job
// in its folder, launchers and their variables, cores shared with others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "framework/core/host_name.hpp"
#include "tests/launch/trained_once.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

// Whether the process blocks or catches this signal: bit `signal - 1` of what /proc says.
bool withstands(pid_t pid, int signal) {
  for (const auto& line : lines_of("/proc/" + std::to_string(pid) + "/status")) {
    if (!line.starts_with("SigBlk:") && !line.starts_with("SigCgt:")) continue;
    if (std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1) return true;
  }
  return false;
}

// Every process of the program with `mark` on its command line, once `ranks` of them
// withstand USR1.
std::vector<pid_t> started(const std::string& mark, size_t ranks) {
  std::vector<pid_t> pids;
  for (int i = 0; i < 1200; ++i) {
    pids = rank_processes(mark);
    bool all = pids.size() == ranks;
    for (const pid_t pid : pids) all = all && pid > 0 && withstands(pid, SIGUSR1);
    if (all) return pids;
    sleep_ms(25);
  }
  ADD_FAILURE() << "no " << ranks << " processes of " << mark;
  return {};
}

// Names that an unfinished write leaves.
std::vector<std::string> temporaries(const fs::path& folder) {
  std::vector<std::string> found;
  if (!fs::exists(folder)) return found;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.path().filename().string().find(".tmp-") != std::string::npos)
      found.push_back(entry.path().string());
  return found;
}

// One network for all tests that only use one.
class Job : public TrainedOnce<Job> {
 protected:
  static void SetUpTestSuite() { train_once(2, "--eval.every 0"); }

  static std::string train(const std::string& name, const std::string& keys = "") {
    return "SCORENET train " + tiny_.config + " --outdir " + file(name) + " --eval.every 0 " + keys;
  }
  static std::string evaluate_long(const std::string& json) {
    return "SCORENET evaluate --network " + snapshot() + " --data " + tiny_.data +
           " --metrics elbo --time-samples 10000000 --json " + json;
  }
  static std::string sample_long(const std::string& outdir) {
    return "SCORENET sample --network " + snapshot() +
           " --seeds 0-3 --steps 1000000 --save-h5 --outdir " + outdir;
  }
};

using StopSignals = Job;

TEST_F(StopSignals, AtAnyMomentFromTheStartToTheEndAreOneOrderlyStop) {
  // Six moments of a run of about a second; three signals each.
  for (const int wait_ms : {0, 100, 300, 600, 1000, 1600}) {
    const std::string name = "moment" + std::to_string(wait_ms);
    Background job("exec " + train(name, "--train.steps 30 --checkpoint.every 3"));
    const auto pids = started(file(name), 1);
    ASSERT_EQ(pids.size(), 1u);
    sleep_ms(wait_ms);
    for (const int signal : {SIGUSR1, SIGUSR2, SIGUSR1, SIGHUP}) kill(pids[0], signal);
    const Outcome ended = job.finish(120);
    EXPECT_TRUE(ended.exit_code == 75 || ended.exit_code == 0)
        << wait_ms << ": " << ended.exit_code << ended.err;
    EXPECT_TRUE(fs::exists(file(name) + "/checkpoints/latest"));
    EXPECT_FALSE(fs::exists(file(name) + "/lock"));
    const Outcome again = run(train(name, "--train.steps 30 --checkpoint.every 3"));
    EXPECT_EQ(again.exit_code, 0) << again.err;
  }
}

TEST_F(StopSignals, HangUpAndTermSaveAndEndWith75) {
  for (const int signal : {SIGHUP, SIGTERM, SIGINT}) {
    const std::string name = "signal" + std::to_string(signal);
    Background job("exec " + train(name, "--train.steps 1000000 --checkpoint.every 0"));
    ASSERT_TRUE(wait_for_lines(file(name + "/stats.jsonl"), 2, 120));
    kill(job.pid(), signal);
    const Outcome stopped = job.finish(120);
    EXPECT_EQ(stopped.exit_code, 75) << signal << stopped.err;
    EXPECT_TRUE(fs::exists(file(name) + "/checkpoints/latest")) << signal;
  }
}

TEST_F(StopSignals, AnEvaluationInsideTrainingIsGivenUpWhicheverRankWasTold) {
  for (const char* ranks : {"zero", "all"}) {
    const std::string name = std::string("in_evaluation_") + ranks;
    const std::string keys =
        " --eval.every 1 --eval.time_samples 1000000 --eval.time_budget_s 100000 --eval.ranks " +
        std::string(ranks) + " --train.steps 5 --run.tick 1";
    Background job("exec mpirun -n 2 --oversubscribe " + train(name, keys));
    ASSERT_TRUE(wait_for_lines(file(name + "/stats.jsonl"), 1, 120));
    sleep_ms(1000);
    const auto pids = started(file(name), 2);
    ASSERT_EQ(pids.size(), 2u);
    kill(pids[1], SIGUSR1);
    const Outcome stopped = job.finish(60);
    EXPECT_EQ(stopped.exit_code, 75) << stopped.err;
    EXPECT_THAT(stopped.out, HasSubstr("stopped by a signal at step 1;"));
    EXPECT_FALSE(fs::exists(file(name) + "/eval/eval-0000001.json"));
    EXPECT_THAT(text_of(file(name) + "/checkpoints/latest"), HasSubstr("0000001"));
    EXPECT_THAT(temporaries(file(name)), testing::IsEmpty());
  }
}

TEST_F(StopSignals, EvaluateAndSampleStopWith75AndWriteNothing) {
  for (const std::string& command : {evaluate_long(file("long.json")), sample_long(file("long"))}) {
    for (const int signal : {SIGUSR1, SIGINT}) {
      Background job("exec " + command);
      const auto pids = started(file("long"), 1);
      ASSERT_EQ(pids.size(), 1u);
      sleep_ms(1500);
      kill(pids[0], signal);
      const Outcome stopped = job.finish(60);
      EXPECT_EQ(stopped.exit_code, 75) << command;
      EXPECT_THAT(stopped.err, HasSubstr("stopped by a signal"));
    }
    Background job("exec mpirun -n 2 --oversubscribe " + command);
    const auto pids = started(file("long"), 2);
    ASSERT_EQ(pids.size(), 2u);
    sleep_ms(2500);
    kill(pids[1], SIGUSR1);
    const Outcome stopped = job.finish(60);
    EXPECT_EQ(stopped.exit_code, 75) << command << stopped.err;
    EXPECT_EQ(count(stopped.err, "stopped by a signal"), 1u) << stopped.err;
  }
  EXPECT_FALSE(fs::exists(file("long.json")));
  EXPECT_FALSE(fs::exists(file("long") + "/samples.h5"));
}

TEST_F(StopSignals, ASecondIntEndsAtOnce) {
  Background job("exec " + evaluate_long(file("twice.json")));
  const auto pids = started(file("twice"), 1);
  ASSERT_EQ(pids.size(), 1u);
  while (!withstands(pids[0], SIGINT)) sleep_ms(10);
  kill(pids[0], SIGSTOP);  // both lie there when it goes on
  kill(pids[0], SIGINT);
  kill(pids[0], SIGTERM);
  kill(pids[0], SIGCONT);
  const int code = job.finish(60).exit_code;
  EXPECT_TRUE(code == 128 + SIGINT || code == 128 + SIGTERM) << code;
}

using Writes = Job;

TEST_F(Writes, TrainingGoesOnWhenNobodyReadsItsLines) {
  const Outcome piped =
      run(train("piped", "2>&1") + " | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}");
  EXPECT_EQ(piped.exit_code, 0) << piped.err;
  EXPECT_THAT(text_of(file("piped/log.txt")), HasSubstr("done; everything is in"));
}

// The run's lock and log are the first files that it opens: they must not become the streams.
TEST_F(Writes, AStreamThatIsClosedBecomesNoneOfTheFiles) {
  for (const std::string closed : {">&-", "2>&-", "<&- >&- 2>&-"}) {
    const std::string folder = "closed" + std::to_string(closed.size());
    const Outcome outcome = run(train(folder, closed));
    EXPECT_EQ(outcome.exit_code, 0) << closed;
    const auto lines = lines_of(file(folder + "/log.txt"));
    EXPECT_EQ(std::count(lines.begin(), lines.end(), "done; everything is in " + file(folder)), 1)
        << closed;
  }
  EXPECT_EQ(run("SCORENET info log-fields >&-").exit_code, 6);
}

TEST_F(Writes, AResultThatStandardOutputDoesNotTakeIsAnError) {
  for (const std::string& command :
       {std::string("SCORENET info log-fields"), "SCORENET data info " + tiny_.data,
        "SCORENET evaluate --n 2 --network " + snapshot() + " --data " + tiny_.data}) {
    const Outcome full = run(command + " >/dev/full");
    EXPECT_EQ(full.exit_code, 6) << command;
    EXPECT_THAT(full.err, HasSubstr("standard output")) << command;
    const Outcome closed = run("{ sleep 0.5; " + command + "; echo $? >&2; } | true");
    EXPECT_THAT(closed.err, AllOf(HasSubstr("standard output"), HasSubstr("\n6\n"))) << command;
  }
}

TEST_F(Writes, ALimitOnTheSizeOfFilesIsAnErrorAndLeavesNoTemporaries) {
  struct Case {
    std::string command, folder;
    int exit_code;
  };
  fs::create_directory(file("limited"));
  const std::vector<Case> cases = {
      {train("limited_train"), "limited_train", 6},
      {"SCORENET sample --network " + snapshot() +
           " --sampler ddim --steps 2 --seeds 0-63 --save-h5 --outdir " + file("limited"),
       "limited", 6},
      {"SCORENET data rechunk " + tiny_.data + " --out " + file("limited/data.h5"), "limited", 3}};
  for (const Case& limited : cases) {
    // bash counts blocks of 1024 bytes. Two are less than any of these files.
    const Outcome outcome = run("ulimit -f 2; " + limited.command);
    EXPECT_TRUE(outcome.exit_code == 6 || outcome.exit_code == limited.exit_code)
        << limited.command << ": " << outcome.exit_code << outcome.err;
    EXPECT_THAT(outcome.err, Not(HasSubstr("internal error"))) << limited.command;
    EXPECT_THAT(temporaries(file(limited.folder)), testing::IsEmpty());
  }
}

TEST_F(Writes, WhatAKilledConversionLeftGoesWithTheNextOne) {
  const std::string folder = file("killed");
  fs::create_directory(folder);
  const auto synthesize = [&folder](const std::string& sizes) {
    return "SCORENET data synthesize --kind gaussian --out " + folder + "/points.h5 " + sizes;
  };
  Background job("exec " + synthesize("--train 4000000 --chunk 1000 --gzip 9"));
  const pid_t killed = job.pid();
  // An empty one is only the check of whether one can write there: it goes by itself.
  const auto has_data = [&folder] {
    const auto all = temporaries(folder);
    std::error_code gone;
    return !all.empty() && fs::file_size(all[0], gone) > 0 && !gone;
  };
  for (int i = 0; i < 12000 && !has_data(); ++i) sleep_ms(5);
  kill(killed, SIGKILL);
  ASSERT_EQ(job.finish(60).exit_code, 128 + SIGKILL);
  ASSERT_EQ(temporaries(folder).size(), 1u);
  const std::string of_another =
      folder + "/.b.h5.tmp-" + host_name() + "-" + std::to_string(killed) + "-0";
  fs::copy_file(temporaries(folder)[0], of_another);
  EXPECT_EQ(run(synthesize("--train 0")).exit_code, 2);  // refused before it looks at its output
  EXPECT_EQ(temporaries(folder).size(), 2u);
  const Outcome next = run(synthesize("--train 5"));
  EXPECT_EQ(next.exit_code, 0) << next.err;
  EXPECT_EQ(temporaries(folder), std::vector<std::string>{of_another});
}

TEST_F(Writes, ALogThatCanTakeNoMoreEndsTheRunWithItsName) {
  // /dev/full takes no byte: a disk that is full for one file alone.
  fs::create_directories(file("full"));
  fs::create_symlink("/dev/full", file("full/log.txt"));
  const Outcome full = run(train("full"));
  EXPECT_EQ(full.exit_code, 6) << full.err;
  EXPECT_THAT(full.err, HasSubstr("log.txt"));
  EXPECT_FALSE(fs::exists(file("full/lock")));
}

using TwoJobs = Job;

TEST_F(TwoJobs, InOneFolderTheSecondIsRefusedNamingTheFirst) {
  const std::string endless = "--train.steps 1000000 --checkpoint.every 1";
  Background first("exec " + train("shared", endless));
  ASSERT_TRUE(wait_for_lines(file("shared/stats.jsonl"), 2, 120));
  for (const std::string& launcher : {std::string(), std::string("mpirun -n 2 --oversubscribe ")}) {
    const Outcome second = run(launcher + train("shared", endless));
    EXPECT_EQ(second.exit_code, 6) << second.err;
    EXPECT_THAT(second.err, AllOf(HasSubstr("process " + std::to_string(first.pid())),
                                  HasSubstr(host_name()), HasSubstr("since 20")));
    EXPECT_EQ(count(second.err, "another job writes into this folder"), 1u) << second.err;
  }
  // A dry run writes nothing and may look.
  EXPECT_EQ(run(train("shared", endless) + " --dry-run").exit_code, 0);
  // The first has lost nothing, and killed it leaves nothing in the way.
  const size_t lines = lines_of(file("shared/stats.jsonl")).size();
  ASSERT_TRUE(wait_for_lines(file("shared/stats.jsonl"), lines + 2, 60));
  kill(first.pid(), SIGKILL);
  EXPECT_EQ(first.finish(60).exit_code, 128 + SIGKILL);
  const Outcome third = run(train("shared", "--train.steps 5 --checkpoint.every 1"));
  EXPECT_EQ(third.exit_code, 0) << third.err;
  EXPECT_THAT(third.out, HasSubstr("resumed at step"));
  EXPECT_FALSE(fs::exists(file("shared/lock")));
}

TEST_F(TwoJobs, OfSamplesIntoOneFolderTheSecondIsRefusedNamingTheFirst) {
  const std::string few = "SCORENET sample --network " + snapshot() +
                          " --sampler ddim --seeds 0 --steps 1 --outdir " + file("pictures");
  Background first("exec " + sample_long(file("pictures")));
  for (int i = 0; i < 12000 && !fs::exists(file("pictures/lock")); ++i) sleep_ms(5);
  for (const std::string& launcher : {std::string(), std::string("mpirun -n 2 --oversubscribe ")}) {
    const Outcome second = run(launcher + few);
    EXPECT_EQ(second.exit_code, 6) << second.err;
    EXPECT_THAT(second.err, AllOf(HasSubstr("process " + std::to_string(first.pid())),
                                  HasSubstr(host_name()), HasSubstr("since 20")));
    EXPECT_EQ(count(second.err, "another job writes into this folder"), 1u) << second.err;
  }
  kill(first.pid(), SIGKILL);
  EXPECT_EQ(first.finish(60).exit_code, 128 + SIGKILL);
  const Outcome third = run(few);
  EXPECT_EQ(third.exit_code, 0) << third.err;
  EXPECT_TRUE(fs::exists(file("pictures/seed-0000000.png")));
  EXPECT_FALSE(fs::exists(file("pictures/lock")));
}

TEST_F(TwoJobs, OfTwoThatStartTogetherOneTrains) {
  const std::string command = train("together", "--train.steps 200 --checkpoint.every 1");
  Background a(command), b(command);
  const Outcome first = a.finish(200), second = b.finish(200);
  EXPECT_EQ(std::min(first.exit_code, second.exit_code), 0) << first.err << second.err;
  EXPECT_EQ(std::max(first.exit_code, second.exit_code), 6) << first.err << second.err;
  EXPECT_EQ(lines_of(file("together/stats.jsonl")).size(), 200u);
}

TEST_F(TwoJobs, ARequeuedJobWaitsForTheOneThatIsStillSaving) {
  const std::string command = train("requeued", "--train.steps 300 --checkpoint.every 0");
  Background first("exec " + command);
  ASSERT_TRUE(wait_for_lines(file("requeued/stats.jsonl"), 3, 120));
  kill(first.pid(), SIGUSR1);
  ASSERT_TRUE([&] {  // it has heard
    for (int i = 0; i < 2400; ++i, sleep_ms(5)) {
      const std::string lock = text_of(file("requeued/lock"));
      if (lock.empty() || count(lock, "state ending") == 1) return true;
    }
    return false;
  }());
  const Outcome second = run(command);
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_THAT(second.out, HasSubstr("resumed at step"));
  EXPECT_EQ(first.finish(60).exit_code, 75);
}

TEST_F(TwoJobs, AnErrorGivesTheFolderFree) {
  const Outcome wrong = run(train("wrong", "--data.path /no/such.h5"));
  EXPECT_EQ(wrong.exit_code, 3);
  EXPECT_FALSE(fs::exists(file("wrong"))) << "an empty run folder is left";
}

using Launchers = Job;

TEST_F(Launchers, VerbsOfOneProcessRunInAnAllocationsShell) {
  const std::string salloc = "SLURM_JOB_ID=1 SLURM_NTASKS=4 SLURM_NNODES=2 ";
  for (const std::string& command :
       {"data info " + tiny_.data, std::string("info log-fields"), "info " + snapshot(),
        "data rechunk " + tiny_.data + " --out " + file("salloc.h5")}) {
    const Outcome outcome = run(salloc + "SCORENET " + command);
    EXPECT_EQ(outcome.exit_code, 0) << command << outcome.err;
  }
  // Started as tasks that do not see each other, the first does the work.
  const Outcome other =
      run(salloc + "SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=1 SCORENET info log-fields");
  EXPECT_EQ(other.exit_code, 0);
  EXPECT_EQ(other.out, "");
  EXPECT_EQ(run(salloc + train("salloc")).exit_code, 5);  // would train alone
}

TEST_F(Launchers, OfAnotherMpiAreNamedByTheFirstOfItsProcesses) {
  for (const std::string name : {"PMI_SIZE", "OMPI_COMM_WORLD_SIZE"}) {
    const std::string size = name + "=3";
    const Outcome zero = run(size + " PMI_RANK=0 " + train("pmi"));
    EXPECT_EQ(zero.exit_code, 5) << zero.err;
    EXPECT_THAT(zero.err, AllOf(HasSubstr(name), HasSubstr("3 processes"))) << zero.err;
    EXPECT_EQ(run(size + " PMI_RANK=1 " + train("pmi")).err, "");
  }
  EXPECT_FALSE(fs::exists(file("pmi")));
}

TEST_F(Launchers, ARankWithAnotherVerbOrCommandLineIsNamedAtOnce) {
  const std::string start = "mpirun --oversubscribe -n 1 ";
  const std::string evaluate =
      "SCORENET evaluate --network " + snapshot() + " --data " + tiny_.data + " --n 2";
  const Outcome verbs = run(start + train("verbs") + " : -n 1 " + evaluate, 60);
  EXPECT_EQ(verbs.exit_code, 2) << verbs.err;
  EXPECT_THAT(verbs.err, AllOf(HasSubstr("verb = train on rank 0 and evaluate on rank 1")));
  const Outcome values = run(start + evaluate + " : -n 1 " + evaluate + " --seed 5", 60);
  EXPECT_EQ(values.exit_code, 2) << values.err;
  EXPECT_THAT(values.err, HasSubstr("--seed 5 on rank 1"));
  // Each host may have its own copy of the data.
  fs::create_directory(file("copy"));
  fs::copy_file(tiny_.data, file("copy/tiny.h5"));
  const Outcome folders = run(start + evaluate + " : -n 1 SCORENET evaluate --network " +
                                  snapshot() + " --data " + file("copy/tiny.h5") + " --n 2",
                              60);
  EXPECT_EQ(folders.exit_code, 0) << folders.err;
}

TEST_F(Launchers, WhatAllRanksRefuseEndsInOrderAndIsToldOnce) {
  const std::pair<std::string, std::string> refusals[] = {
      {"SCORENET evaluate --network " + snapshot() + " --data /no/such.h5", "/no/such.h5"},
      {train("none", "--data.path /no/such.h5"), "/no/such.h5"},
      {train("none", "--train.batch_size 13"), "12 and 14"},
      {"SCORENET train /no/such.toml --outdir x", "/no/such.toml"}};
  for (const auto& [command, sentence] : refusals) {
    const Outcome refused = run("mpirun -n 2 --oversubscribe " + command, 60);
    EXPECT_TRUE(refused.exit_code == 2 || refused.exit_code == 3) << refused.err;
    EXPECT_THAT(refused.err, AllOf(Not(HasSubstr("MPI_ABORT")), Not(HasSubstr("unpack")),
                                   Not(HasSubstr("[rank 1"))));
    EXPECT_EQ(count(refused.err, sentence), 1u) << refused.err;
  }
}

using Threads = Job;

TEST_F(Threads, AreTheCommandsThenTheEnvironmentsThenTheCores) {
  const std::string dry = " " + train("dry", "--dry-run ");
  EXPECT_THAT(run("OMP_NUM_THREADS=3" + dry + "--run.threads 0").out, HasSubstr(" 3 threads each"));
  EXPECT_THAT(run("OMP_NUM_THREADS=3" + dry + "--run.threads 2").out, HasSubstr(" 2 threads each"));
  EXPECT_THAT(run("OMP_NUM_THREADS=3" + dry + "--threads 4").out,
              AllOf(HasSubstr(" 4 threads each"), HasSubstr("threads = 4")));
  EXPECT_THAT(run("OMP_NUM_THREADS=3 SCORENET doctor").out, HasSubstr("threads 3 "));
  EXPECT_THAT(run("OMP_NUM_THREADS=3 SCORENET doctor --threads 5").out, HasSubstr("threads 5 "));
  for (const char* verb : {"train", "evaluate", "sample", "plan", "doctor", "info", "data convert",
                           "data rechunk", "ema reconstruct", "convert from-diffusers"}) {
    EXPECT_THAT(run(std::string("SCORENET ") + verb + " --help").out, HasSubstr("--threads"))
        << verb;
  }
  EXPECT_EQ(run("SCORENET doctor --threads 0").exit_code, 2);
}

TEST_F(Threads, ThatWaitDoNotSpinUnlessTheUserSaysSo) {
  const std::string show = "OMP_DISPLAY_ENV=verbose ";
  const Outcome quiet = run("unset OMP_WAIT_POLICY GOMP_SPINCOUNT; " + show + "SCORENET --version");
  if (count(quiet.err, "WAIT_POLICY") == 0) GTEST_SKIP() << "this OpenMP library does not show it";
  EXPECT_THAT(quiet.err, HasSubstr("OMP_WAIT_POLICY = 'PASSIVE'"));
  EXPECT_THAT(run("OMP_WAIT_POLICY=active " + show + "SCORENET --version").err,
              HasSubstr("OMP_WAIT_POLICY = 'ACTIVE'"));
  EXPECT_THAT(run("GOMP_SPINCOUNT=77 " + show + "SCORENET --version").err,
              HasSubstr("GOMP_SPINCOUNT = '77'"));
}

}  // namespace
}  // namespace scorenet::test
