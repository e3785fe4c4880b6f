// A run that saves while it trains and goes on after a spike: kills, stops, full disks, clocks, and
// the same bits on any rank count.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::vector<std::string> temporaries(const fs::path& folder) {
  std::vector<std::string> found;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator(folder, gone))
    if (entry.path().filename().string().find(".tmp-") != std::string::npos)
      found.push_back(entry.path().filename().string());
  return found;
}

class Saves : public testing::Test {
 protected:
  Saves() : tiny_(make_tiny_run(folder_)) {}

  std::string train(const std::string& name, const std::string& keys, int ranks = 1) const {
    return (ranks == 1 ? std::string("exec SCORENET") : mpirun(ranks)) + " train " + tiny_.config +
           " --outdir " + (folder_ / name) + " --eval.every 0 " + keys;
  }
  fs::path checkpoints(const std::string& name) const { return folder_ / (name + "/checkpoints"); }
  std::string bytes(const std::string& name, int64_t step,
                    const std::string& file = "model.safetensors") const {
    char folder[32];
    std::snprintf(folder, sizeof folder, "%07lld", static_cast<long long>(step));
    return text_of(checkpoints(name) / folder / file);
  }
  std::string log(const std::string& name) const { return text_of(folder_ / (name + "/log.txt")); }

  // Waits until a checkpoint is there and another is being written.
  bool wait_for_a_write(const std::string& name) const {
    for (int i = 0; i < 600'000; ++i) {
      const auto all = temporaries(checkpoints(name));
      const bool writes = std::any_of(all.begin(), all.end(), [](const std::string& t) {
        return t.starts_with(".0");  // a step's folder, not `latest`
      });
      if (writes && fs::exists(checkpoints(name) / "latest")) return true;
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return false;
  }

  Folder folder_;
  TinyRun tiny_;
};

constexpr const char* kLong = " --train.steps 40 --checkpoint.every 4";

TEST_F(Saves, KilledWhileItWritesARunGoesOnFromTheCheckpointBefore) {
  ASSERT_EQ(run(train("straight", kLong)).exit_code, 0);
  bool hit = false;
  for (int attempt = 0; attempt < 10 && !hit; ++attempt) {
    fs::remove_all(folder_ / "killed");
    Background job(train("killed", kLong));
    ASSERT_TRUE(wait_for_a_write("killed"));
    kill(job.pid(), SIGKILL);
    ASSERT_EQ(job.finish(60).exit_code, 128 + SIGKILL);
    hit = !temporaries(checkpoints("killed")).empty();
  }
  ASSERT_TRUE(hit);
  const Outcome resumed = run(train("killed", kLong));
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.out, HasSubstr("resumed at step"));
  EXPECT_EQ(resumed.err, "");
  EXPECT_EQ(bytes("killed", 40), bytes("straight", 40));
  EXPECT_EQ(bytes("killed", 40, "ema.safetensors"), bytes("straight", 40, "ema.safetensors"));
  EXPECT_THAT(temporaries(checkpoints("killed")), IsEmpty());
}

TEST_F(Saves, AStopWhileASaveIsUnderWayWaitsForItAndSavesItsOwnStep) {
  ASSERT_EQ(run(train("straight", kLong)).exit_code, 0);
  Background job(train("stopped", kLong));
  ASSERT_TRUE(wait_for_a_write("stopped"));
  kill(job.pid(), SIGUSR1);
  const Outcome stopped = job.finish(60);
  EXPECT_EQ(stopped.exit_code, 75) << stopped.err;
  EXPECT_THAT(temporaries(checkpoints("stopped")), IsEmpty());
  const std::string latest = text_of(checkpoints("stopped") / "latest");
  EXPECT_THAT(stopped.out,
              HasSubstr("stopped by a signal at step " + std::to_string(std::stoll(latest))));
  ASSERT_EQ(run(train("stopped", kLong)).exit_code, 0);
  EXPECT_EQ(bytes("stopped", 40), bytes("straight", 40));
}

TEST_F(Saves, BesideTrainingAndAtOnceAreTheSameBitsAndBothTellTheStall) {
  const std::string keys = kLong + std::string(" --checkpoint.background ");
  ASSERT_EQ(run(train("beside", keys + "true", 2)).exit_code, 0);
  ASSERT_EQ(run(train("at_once", keys + "false", 2)).exit_code, 0);
  for (const char* file :
       {"model.safetensors", "optimizer.safetensors", "ema.safetensors", "spikes.safetensors"}) {
    EXPECT_EQ(bytes("beside", 40, file), bytes("at_once", 40, file)) << file;
  }
  EXPECT_THAT(log("beside"), AllOf(HasSubstr("step 4 saved: stall "), HasSubstr("beside training"),
                                   HasSubstr("step 40 saved: stall ")));
  EXPECT_THAT(log("at_once"), AllOf(HasSubstr("step 40 saved: stall "), HasSubstr("at once")));
}

TEST_F(Saves, RankZerosClockAsksAllRanksForCheckpoints) {
  const std::string steps = " --train.steps 60 --checkpoint.every 0";
  ASSERT_EQ(run(train("straight", steps, 2)).exit_code, 0);
  const Outcome timed =
      run(train("timed", steps + " --checkpoint.every_minutes 0.0005 --comm.check_every 1", 2));
  ASSERT_EQ(timed.exit_code, 0) << timed.err;
  size_t saves = 0;
  for (const auto& line : lines_of(folder_ / "timed/log.txt"))
    saves += line.find(" saved: ") != std::string::npos;
  EXPECT_GE(saves, 3u);
  EXPECT_EQ(bytes("timed", 60), bytes("straight", 60));
}

TEST_F(Saves, AFullDiskEndsTheRunWithSixOrIsToldUntilThereIsRoom) {
  fs::create_directories(checkpoints("full"));
  if (::mount("tmpfs", checkpoints("full").c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "needs a small file system of its own, which only root may mount";
  for (const char* beside : {"true", "false"}) {
    const std::string keys =
        " --train.steps 12 --checkpoint.every 4 --checkpoint.background " + std::string(beside);
    const Outcome stopped = run(train("full", keys));
    EXPECT_EQ(stopped.exit_code, 6) << stopped.err;
    EXPECT_THAT(stopped.err, AllOf(HasSubstr("No space left"), HasSubstr("Free some space")));
    // The last save has no next one.
    const Outcome told = run(train("full", keys + " --checkpoint.on_failure continue"));
    EXPECT_EQ(told.exit_code, 6) << told.err;
    EXPECT_THAT(told.out, AllOf(HasSubstr("step 4 not saved: "), HasSubstr("step 8 not saved: "),
                                Not(HasSubstr("done;"))));
    EXPECT_THAT(temporaries(checkpoints("full")), IsEmpty());
  }
  ::umount(checkpoints("full").c_str());
  EXPECT_EQ(run(train("full", " --train.steps 12 --checkpoint.every 4")).exit_code, 0);
}

TEST_F(Saves, AReplicaInTheRunsFolderIsNone) {
  for (const char* inside : {"own", "own/checkpoints", "own/copy"}) {
    const Outcome refused = run(train("own", " --checkpoint.replica " + (folder_ / inside)));
    EXPECT_EQ(refused.exit_code, 2) << inside;
    EXPECT_THAT(refused.err, HasSubstr("lies in the run's folder"));
  }
}

TEST_F(Saves, ALostFolderIsTakenUpFromTheReplicaAndEndsWithTheSameBits) {
  const std::string keys = " --checkpoint.replica " + (folder_ / "copy");
  ASSERT_EQ(run(train("straight", kLong)).exit_code, 0);
  ASSERT_EQ(run(train("lost", " --train.steps 20 --checkpoint.every 4" + keys)).exit_code, 0);
  fs::remove_all(folder_ / "lost");
  const Outcome resumed = run(train("lost", kLong + keys));
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("Using step 20 of checkpoint.replica"));
  EXPECT_EQ(bytes("lost", 40), bytes("straight", 40));
  const Outcome another = run(train("another", kLong + keys));
  EXPECT_EQ(another.exit_code, 2) << another.out;
  EXPECT_THAT(another.err, HasSubstr("holds the checkpoints of the run in"));
}

TEST_F(Saves, OldSnapshotsGoAsTheConfigSays) {
  ASSERT_EQ(run(train("few",
                      " --train.steps 20 --checkpoint.every 2 --checkpoint.snapshot_keep 2 "
                      "--checkpoint.snapshot_keep_every 10"))
                .exit_code,
            0);
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder_ / "few/snapshots"))
    names.insert(entry.path().filename().string().substr(0, 15));
  EXPECT_EQ(names, (std::set<std::string>{"network-0000002", "network-0000010", "network-0000018",
                                          "network-0000020"}));
}

// 360 points of the plane, of which number 5 is `times` as large: the run meets it in step 134.
class Spikes : public Saves {
 protected:
  std::string data_with_spike(const std::string& name, float times) const {
    const std::string npy = folder_ / (name + ".npy"), data = folder_ / (name + ".h5");
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (360, 2), }";
    header.resize(118, ' ');
    {
      std::ofstream out(npy, std::ios::binary);
      out << "\x93NUMPY" << '\x01' << '\0' << static_cast<char>(119) << '\0' << header << '\n';
      for (int i = 0; i < 360 * 2; ++i) {
        const double x = std::sin(0.1 * (i / 2) + 0.8 * (i % 2));
        const float value = static_cast<float>(x) * (i / 2 == 5 ? times : 1.0F);
        out.write(reinterpret_cast<const char*>(&value), sizeof value);
      }
    }
    const Outcome made =
        run("SCORENET data convert --npy " + npy + " --validation 0 --out " + data);
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return " --data.path " + data;
  }
  static std::string keys(const std::string& more) {
    return " --model.type mlp --model.hidden 8,8 --train.batch_size 4 --train.steps 160 "
           "--checkpoint.every 20 --comm.canonical true "
           "--comm.virtual_shards 4 --model.dropout 0 " +
           more;
  }
};

TEST_F(Spikes, ASpikeIsLoggedWithItsSampleAndChangesNoBit) {
  const std::string data = data_with_spike("spike", 300);
  const Outcome logged = run(train("logged", keys(data)));
  ASSERT_EQ(logged.exit_code, 0) << logged.err;
  EXPECT_THAT(logged.out,
              AllOf(HasSubstr("step 134: the loss "), HasSubstr("far above its recent median"),
                    HasSubstr("sample 5 of rank 0 at t = "), HasSubstr("logged")));
  ASSERT_EQ(run(train("unseen", keys(data + " --train.spike_deviations 1e6"))).exit_code, 0);
  EXPECT_THAT(log("unseen"), Not(HasSubstr("far above")));
  EXPECT_EQ(bytes("logged", 160), bytes("unseen", 160));
}

TEST_F(Spikes, SkippedOrGoneBackTheBitsAreTheSameOnAnyRanksAndAfterAResume) {
  const std::string data = data_with_spike("spike", 300);
  for (const std::string policy : {"skip", "rollback"}) {
    const auto all_keys = keys(data + " --comm.check_every 1 --train.on_spike " + policy);
    for (const int ranks : {1, 2, 4}) {
      const std::string name = policy + std::to_string(ranks);
      const Outcome outcome = run(train(name, all_keys, ranks));
      ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
      EXPECT_THAT(outcome.out, AllOf(HasSubstr("step 134: the loss "), HasSubstr("sample 5 of")));
      EXPECT_EQ(bytes(name, 160), bytes(policy + "1", 160)) << ranks;
      EXPECT_EQ(bytes(name, 160, "ema.safetensors"), bytes(policy + "1", 160, "ema.safetensors"));
    }
    const auto last = nlohmann::json::parse(lines_of(folder_ / (policy + "1/stats.jsonl")).back());
    EXPECT_EQ(last["skipped"], policy == "skip" ? 1 : 0);
    EXPECT_EQ(lines_of(folder_ / (policy + "1/stats.jsonl")).size(), 160u);
    // The law is saved: a start between decides alike. On other ranks, too.
    ASSERT_EQ(run(train(policy, all_keys + " --train.steps 130", 2)).exit_code, 0);
    ASSERT_EQ(run(train(policy, all_keys)).exit_code, 0);
    EXPECT_THAT(log(policy), HasSubstr("step 134: the loss "));
    // A start in step 130 saves there, and it is this step that the run goes back to.
    EXPECT_EQ(bytes(policy, 160) == bytes(policy + "1", 160), policy == "skip");
  }
  EXPECT_NE(bytes("skip1", 160), bytes("rollback1", 160));
  EXPECT_THAT(log("rollback1"), HasSubstr("back to step 120 with other draws (rollback 1 of"));
  EXPECT_THAT(bytes("rollback1", 160, "state.json"), HasSubstr("\"redraw\": 1"));
}

TEST_F(Spikes, AKillAfterTheRunHasGoneBackChangesNothing) {
  const auto all_keys = keys(data_with_spike("spike", 300) + " --train.on_spike rollback");
  ASSERT_EQ(run(train("straight", all_keys)).exit_code, 0);
  Background job(train("killed", all_keys));
  for (int i = 0; i < 60'000 && log("killed").find("back to step") == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  kill(job.pid(), SIGKILL);
  job.finish(60);
  ASSERT_EQ(run(train("killed", all_keys)).exit_code, 0);
  EXPECT_EQ(bytes("killed", 160), bytes("straight", 160));
}

TEST_F(Spikes, ALossThatIsNotFiniteGoesBackTooAndToOneCheckpointOnlySoOften) {
  const Outcome back = run(
      train("back", keys(data_with_spike("large", 1e25F) + " --train.on_nonfinite rollback"), 2));
  EXPECT_EQ(back.exit_code, 0) << back.err;
  EXPECT_THAT(back.out, AllOf(HasSubstr("is not finite: sample 5 at t = "),
                              HasSubstr("with other draws (rollback 1 of the run)")));
  // Every second step has the sample, whatever the draws.
  const Outcome ended =
      run(train("ended", " --data.path " + write_overflowing_data(folder_) +
                             " --train.on_nonfinite rollback --train.max_rollbacks 3"));
  EXPECT_EQ(ended.exit_code, 4) << ended.err;
  EXPECT_THAT(ended.err, AllOf(HasSubstr("has gone back to step 0 3 times"),
                               HasSubstr("train.max_rollbacks"), HasSubstr("sample 17")));
}

}  // namespace
}  // namespace scorenet::test
