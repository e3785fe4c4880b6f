// The command line as a user meets it: what works, and one clear sentence with the documented exit
// code for what does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/launch/trained_once.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

// One training run for all tests that only look at what it left.
class Trained : public TrainedOnce<Trained> {
 protected:
  static void SetUpTestSuite() { train_once(20); }
};

TEST_F(Trained, ARunFolderHoldsWhatItsPageLists) {
  ASSERT_EQ(trained_.exit_code, 0) << trained_.err;
  for (const char* name :
       {"config.toml", "log.txt", "stats.jsonl", "metrics.csv", "samples/grid-0000020.png",
        "samples/grid-raw-0000020.png", "samples/reals.png", "eval/eval-0000020.json",
        "snapshots/network-0000020-ema0.9.safetensors", "checkpoints/0000020/manifest.json"}) {
    EXPECT_TRUE(fs::exists(fs::path(file("run")) / name)) << name;
  }
  EXPECT_THAT(text_of(file("run/checkpoints/latest")), HasSubstr("0000020"));
  EXPECT_EQ(lines_of(file("run/stats.jsonl")).size(), 20u);  // a tick a step
  const auto tick = nlohmann::json::parse(lines_of(file("run/stats.jsonl")).back());
  EXPECT_EQ(tick["step"], 20);
  EXPECT_NEAR(tick["kimg"].get<double>(), 0.24, 1e-12);
  EXPECT_GT(tick["loss"].get<double>(), 0);
}

TEST_F(Trained, TheSameCommandOnAFinishedRunChangesNothing) {
  const auto before = text_of(file("run/checkpoints/0000020/manifest.json"));
  const Outcome again = run("SCORENET train " + tiny_.config + " --outdir " + file("run"));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("resumed at step 20"));
  EXPECT_EQ(text_of(file("run/checkpoints/0000020/manifest.json")), before);
}

TEST_F(Trained, AChangedKeyThatMattersIsRefusedWithBothValues) {
  const Outcome refused =
      run("SCORENET train " + tiny_.config + " --outdir " + file("run") + " --train.batch_size 6");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("train.batch_size"), HasSubstr("6"), HasSubstr("12")));
}

TEST_F(Trained, EvaluateNeedsNothingButTheSnapshotAndData) {
  const Outcome e =
      run("SCORENET evaluate --network " + snapshot() + " --data " + tiny_.data +
          " --metrics elbo,elbo-10 --json " + file("e.json") + " --per-example " + file("e.h5"));
  ASSERT_EQ(e.exit_code, 0) << e.err;
  const auto json = nlohmann::json::parse(text_of(file("e.json")));
  EXPECT_EQ(json["n"], 8);
  EXPECT_EQ(json["dims"], 64);
  EXPECT_EQ(json["split"], "test");
  const auto& m = json["metrics"]["elbo"];
  EXPECT_EQ(m["kind"], "bound");
  // The three terms add up to the mean, and bits are nats / (64 log 2).
  const double sum = m["terms"]["prior"].get<double>() + m["terms"]["diffusion"].get<double>() +
                     m["terms"]["reconstruction"].get<double>();
  EXPECT_NEAR(sum, m["nats_mean"].get<double>(), 1e-9 * sum);
  EXPECT_NEAR(m["bits_per_dim"].get<double>(), sum / (64 * std::log(2.0)), 1e-9);
  EXPECT_GT(m["nats_stderr"].get<double>(), 0);
  EXPECT_TRUE(fs::exists(file("e.h5")));
}

TEST_F(Trained, OdeSaysHowItWasSolvedAndHowExactly) {
  const auto of = [&](const std::string& options) {
    const Outcome e = run("SCORENET evaluate --network " + snapshot() + " --data " + tiny_.data +
                          " --metrics ode --force --json " + file("ode.json") + options);
    EXPECT_EQ(e.exit_code, 0) << e.err;
    return nlohmann::json::parse(text_of(file("ode.json")))["metrics"]["ode"];
  };
  const auto usual = of(""), fine = of(" --rtol 1e-7");
  EXPECT_EQ(usual["solver"], "adams, 0.002 nats a dimension");
  EXPECT_EQ(fine["solver"], "dormand-prince, rtol 1e-07, atol 1e-07");
  EXPECT_FALSE(fine.contains("solver_error_mean"));
  const double allowed = 0.002 * 64;
  EXPECT_LE(usual["solver_error_max"].get<double>(), allowed);
  EXPECT_LE(usual["solver_error_mean"].get<double>(), usual["solver_error_max"].get<double>());
  EXPECT_NEAR(usual["nats_mean"].get<double>(), fine["nats_mean"].get<double>(), allowed);
  EXPECT_LT(usual["nfe"].get<double>(), fine["nfe"].get<double>());
}

TEST_F(Trained, SamplesBecomeAGridOrAPictureASeed) {
  const std::string base =
      "SCORENET sample --network " + snapshot() + " --sampler ddim --steps 3 --outdir " + file("s");
  EXPECT_EQ(run(base + " --seeds 0-3 --grid 2x2 --save-h5").exit_code, 0);
  EXPECT_TRUE(fs::exists(file("s/grid.png")) && fs::exists(file("s/samples.h5")));
  EXPECT_EQ(run(base + " --seeds 5,7").exit_code, 0);
  EXPECT_TRUE(fs::exists(file("s/seed-0000005.png")) && fs::exists(file("s/seed-0000007.png")));
}

TEST_F(Trained, InfoShowsTheConfigInsideASnapshot) {
  const Outcome info = run("SCORENET info " + snapshot());
  EXPECT_EQ(info.exit_code, 0) << info.err;
  EXPECT_THAT(info.out,
              AllOf(HasSubstr("(1, 8, 8)"), HasSubstr("step 20"), HasSubstr("vdm_linear")));
}

TEST_F(Trained, ADamagedSnapshotIsNamed) {
  std::string bytes = text_of(snapshot());
  std::ofstream(file("cut.safetensors"), std::ios::binary) << bytes.substr(0, bytes.size() - 100);
  const Outcome e = run("SCORENET evaluate --network " + file("cut.safetensors") + " --data " +
                        tiny_.data + " --metrics elbo");
  EXPECT_EQ(e.exit_code, 6);
  EXPECT_THAT(e.err, HasSubstr("cut.safetensors"));
}

TEST_F(Trained, ADamagedCheckpointFallsBackToTheOneBefore) {
  const std::string copy = file("damaged");
  fs::copy(file("run"), copy, fs::copy_options::recursive);
  std::ofstream(copy + "/checkpoints/0000020/model.safetensors",
                std::ios::in | std::ios::out | std::ios::binary)
      .seekp(500)
      .put('x');
  const Outcome resumed = run("SCORENET train " + tiny_.config + " --outdir " + copy);
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("model.safetensors"));
  EXPECT_THAT(resumed.out, HasSubstr("resumed at step 10"));
  // The ten steps that were lost are done again, and end at the same weights.
  EXPECT_EQ(text_of(copy + "/checkpoints/0000020/model.safetensors"),
            text_of(file("run/checkpoints/0000020/model.safetensors")));
}

TEST_F(Trained, WithNoIntactCheckpointTheRunIsRefused) {
  const std::string copy = file("lost");
  fs::copy(file("run"), copy, fs::copy_options::recursive);
  for (const char* step : {"0000010", "0000020"})
    fs::resize_file(copy + "/checkpoints/" + step + "/model.safetensors", 100);
  const Outcome refused = run("SCORENET train " + tiny_.config + " --outdir " + copy);
  EXPECT_EQ(refused.exit_code, 6);
  EXPECT_THAT(refused.err, HasSubstr("model.safetensors"));
}

// A full disk, for real: a file system of a few hundred kB. Needs root to mount.
TEST_F(Trained, AFullDiskAtASaveIsOneSentenceAndLeavesTheLastCheckpoint) {
  const std::string small = file("small");
  fs::create_directory(small);
  if (mount("tmpfs", small.c_str(), "tmpfs", 0, "size=700k") != 0)
    GTEST_SKIP() << "needs root to mount a small file system";
  const Outcome full = run("SCORENET train " + tiny_.config + " --outdir " + small +
                           "/run --checkpoint.every 1 --checkpoint.keep 100 --eval.every 0");
  const bool intact = fs::exists(small + "/run/checkpoints/latest");
  const std::string latest = text_of(small + "/run/checkpoints/latest");
  const bool whole =
      fs::exists(small + "/run/checkpoints/" + latest.substr(0, 7) + "/manifest.json");
  umount2(small.c_str(), MNT_DETACH);
  EXPECT_EQ(full.exit_code, 6) << full.out;
  EXPECT_THAT(full.err, HasSubstr("No space left"));
  EXPECT_TRUE(intact && whole);
}

TEST_F(Trained, ADryRunPrintsTheResolvedConfigAndTrainsNothing) {
  const Outcome dry = run("SCORENET train " + tiny_.config + " --outdir " + file("dry") +
                          " --dry-run --train.steps 7");
  EXPECT_EQ(dry.exit_code, 0) << dry.err;
  EXPECT_THAT(dry.out, AllOf(HasSubstr("steps = 7"), HasSubstr("parameters"),
                             HasSubstr("12 = 1 ranks x 12")));
  EXPECT_FALSE(fs::exists(file("dry")));
}

TEST_F(Trained, ComputesOnTheCoresThatItMayUse) {
  const std::string dry =
      " train " + tiny_.config + " --outdir " + file("dry") + " --dry-run --run.threads 0";
  // A variable of the one who started this test would be honoured.
  const std::string free = "env -u OMP_NUM_THREADS ";
  cpu_set_t mine;
  CPU_ZERO(&mine);
  for (int c = 0; c < CPU_SETSIZE; ++c) CPU_SET(c, &mine);
  sched_setaffinity(0, sizeof mine, &mine);  // unbound, however this test was started
  ASSERT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
  int first = 0;
  while (!CPU_ISSET(first, &mine)) ++first;
  const std::string all = std::to_string(CPU_COUNT(&mine)) + " threads each";
  const Outcome bound = run(free + "taskset -c " + std::to_string(first) + " SCORENET" + dry);
  EXPECT_THAT(bound.out, HasSubstr(" 1 threads each"));
  EXPECT_EQ(bound.err, "");
  EXPECT_THAT(run(free + "SCORENET" + dry).out, HasSubstr(all));
  // mpirun binds a rank or two to a core each.
  const Outcome unbound = run(free + "mpirun -n 1 --bind-to none SCORENET" + dry);
  EXPECT_THAT(unbound.out, HasSubstr(all));
  EXPECT_THAT(unbound.err, Not(HasSubstr("bound")));
  if (CPU_COUNT(&mine) == 1) return;
  const Outcome by_core = run(free + "mpirun -n 1 --bind-to core SCORENET" + dry);
  EXPECT_THAT(by_core.out, HasSubstr(" 1 threads each"));
  EXPECT_THAT(by_core.err, HasSubstr("note: mpirun has bound this rank to 1 of " +
                                     std::to_string(CPU_COUNT(&mine)) + " cores"));
}

TEST_F(Trained, AnUnwritableOutdirIsNamed) {
  const Outcome e = run("SCORENET train " + tiny_.config + " --outdir /proc/none");
  EXPECT_EQ(e.exit_code, 6);
  EXPECT_THAT(e.err, HasSubstr("/proc/none"));
}

struct Wrong {
  const char* what;
  std::string arguments;  // TINY and DATA stand for the config and data file
  int exit_code;
  std::vector<std::string> named;
};

std::string filled(std::string text, const std::string& mark, const std::string& value) {
  for (size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += value.size())
    text.replace(at, mark.size(), value);
  return text;
}

TEST_F(Trained, WrongInputIsOneSentenceWithTheDocumentedExitCode) {
  std::ofstream(file("not.h5")) << "no HDF5 at all";
  const std::string bytes = text_of(tiny_.data);
  std::ofstream(file("cut.h5"), std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  std::ofstream(file("unknown.toml")) << "[train]\nlearning_rat = 1\n";
  const std::string out = " --outdir " + file("wrong") + " ";
  const std::vector<Wrong> cases = {
      {"no verb", "", 2, {"a verb is missing", "train, evaluate"}},
      {"unknown verb", "trian", 2, {"scorenet trian: no such verb. Did you mean 'train'?"}},
      {"unknown verb of a verb", "data infoo x", 2, {"data infoo", "'info'"}},
      {"option before the verb", "--versoin", 2, {"--versoin", "'--version'"}},
      {"missing config", "train /no/such.toml" + out, 2, {"/no/such.toml"}},
      {"unknown key in the file",
       "train " + file("unknown.toml") + out,
       2,
       {"line 2", "learning_rat", "train.learning_rate"}},
      {"unknown key on the command line",
       "train TINY --train.stps 3" + out,
       2,
       {"train.stps", "train.steps"}},
      {"value out of range",
       "train TINY --train.learning_rate -0.1" + out,
       2,
       {"train.learning_rate", "-0.1"}},
      {"a schedule that cannot be trained",
       "train TINY --diffusion.schedule vdm_learned --diffusion.loss simple" + out,
       2,
       {"vdm_learned", "simple"}},
      {"no duration", "train TINY --train.steps 0" + out, 2, {"train.steps"}},
      {"missing data", "train TINY --data.path /no/data.h5" + out, 3, {"/no/data.h5"}},
      {"not HDF5", "train TINY --data.path " + file("not.h5") + out, 3, {"not.h5"}},
      {"truncated HDF5", "train TINY --data.path " + file("cut.h5") + out, 3, {"cut.h5"}},
      {"labels that are not there",
       "train TINY --data.labels true --model.num_classes 3" + out,
       3,
       {"labels"}},
      {"missing snapshot",
       "evaluate --network /no.safetensors --data DATA",
       6,
       {"/no.safetensors"}},
      {"unknown metric",
       "evaluate --network " + snapshot() + " --data DATA --metrics fids",
       2,
       {"fids", "elbo"}},
      {"more steps than any grid has",
       "evaluate --network " + snapshot() + " --data DATA --metrics elbo-10000000000",
       2,
       {"elbo-10000000000", "1 to 1000000"}},
      {"a report that cannot be written",
       "evaluate --network " + snapshot() + " --data DATA --n 2 --json /no/folder/out.json",
       6,
       {"--json /no/folder/out.json", "Make it first"}},
      {"no model", "evaluate --data DATA", 2, {"--network"}},
      {"wrong seeds",
       "sample --network " + snapshot() + " --seeds 5-x --outdir " + file("w"),
       2,
       {"5-x"}},
      {"unknown class",
       "sample --network " + snapshot() + " --class 3 --seeds 0 --outdir " + file("w"),
       2,
       {"--class 3"}},
  };
  for (const Wrong& wrong : cases) {
    const Outcome e = run(
        "SCORENET " + filled(filled(wrong.arguments, "TINY", tiny_.config), "DATA", tiny_.data));
    EXPECT_EQ(e.exit_code, wrong.exit_code) << wrong.what << ": " << e.err;
    for (const auto& text : wrong.named) EXPECT_THAT(e.err, HasSubstr(text)) << wrong.what;
  }
}

// Each of these was taken: as the largest number, as the number modulo 2^64, as no bound at all.
TEST_F(Trained, WhatIsNoNumberIsRefusedByEveryOption) {
  const std::string evaluate =
      "SCORENET evaluate --network " + snapshot() + " --data " + tiny_.data + " ";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"--seed -1", "--seed: '-1': expected a whole number from 0 to 2^64 - 1."},
      {"--seed 99999999999999999999", "--seed: '99999999999999999999'"},
      {"--n 99999999999999999999", "--n: '99999999999999999999': expected a whole number"},
      {"--n 1.5", "--n: '1.5': expected a whole number"},
      {"--n -1", "--n: '-1': expected a number >= 0."},
      {"--batch 0", "--batch: '0': expected a number > 0."},
      {"--rtol nan", "--rtol: 'nan': expected a number."},
      {"--hbar 0,nan", "--hbar: 'nan': expected a number."},
      {"--hbar inf", "--hbar: 'inf': expected a number >= 0."},
      {"--eta nan", "--eta: 'nan': expected a number."},
      {"--n 2 --n 3", "--n: given 2 times, expected once."},
      {"--json", "--json: its value is missing."},
      {"--sedes 3", "--sedes: scorenet evaluate has no such option. Did you mean '--seeds'?"},
      {"--n 2 more.h5", "more.h5: scorenet evaluate takes no further argument."}};
  for (const auto& [options, says] : cases) {
    const Outcome refused = run(evaluate + options);
    EXPECT_EQ(refused.exit_code, 2) << options;
    EXPECT_THAT(refused.err, testing::StartsWith(says));
    EXPECT_LT(refused.err.size(), 300u) << refused.err;
  }
  EXPECT_EQ(run(evaluate + "--n 2 --churn-max inf --seed 18446744073709551615").exit_code, 0);
}

TEST(Help, EveryVerbExplainsItselfAndTrainListsAllKeysWithRanges) {
  for (const char* verb : {"train", "evaluate", "sample", "data", "info", "doctor"}) {
    const Outcome help = run(std::string("SCORENET ") + verb + " --help");
    EXPECT_EQ(help.exit_code, 0) << verb;
  }
  EXPECT_THAT(run("SCORENET train --help").out,
              AllOf(HasSubstr("\n[train]\n"), HasSubstr("learning_rate"), HasSubstr("a number > 0"),
                    HasSubstr("2e-04")));
}

TEST(Doctor, SaysWhatWasFound) {
  const Outcome doctor = run("SCORENET doctor");
  EXPECT_EQ(doctor.exit_code, 0);
  EXPECT_THAT(doctor.out, AllOf(HasSubstr("LibTorch"), HasSubstr("HDF5"),
                                HasSubstr("U-Nets      on the CPU in fp32 by "),
                                ContainsRegex("fp32 [1-9][0-9]* GFLOP/s, bf16 [0-9]+ GFLOP/s"),
                                HasSubstr("rank 0 of 1"), HasSubstr("sum right")));
}

TEST(Info, AScheduleIsPrintedAndLogFieldsAreExplained) {
  EXPECT_THAT(run("SCORENET info schedule --diffusion.schedule vp_cosine").out,
              HasSubstr("log_snr"));
  EXPECT_THAT(run("SCORENET info log-fields").out, HasSubstr("comm_exposed_frac"));
}

}  // namespace
}  // namespace scorenet::test
