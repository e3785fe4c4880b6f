// Saves beside training: the same bytes, one at a time, and what happens where a disk is full or
// does not answer.
#include "framework/train/saver.hpp"

#include <condition_variable>
#include <mutex>

#include "framework/checkpoint/checkpoint_store.hpp"
#include "framework/comm/any_rank.hpp"
#include "framework/files/atomic_file.hpp"
#include "tests/framework/train/sim_training.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/fault_layer.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::train {
namespace {

namespace fs = std::filesystem;
using test::FaultLayer;
using testing::ElementsAre;
using testing::HasSubstr;

// A disk that does not answer until it is let go.
class FrozenLayer : public files::FileLayer {
 public:
  ssize_t write(int file, const void* bytes, size_t count) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !frozen_; });
    return FileLayer::write(file, bytes, count);
  }
  void let_go() {
    const std::lock_guard lock(mutex_);
    frozen_ = false;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool frozen_ = true;
};

class SaverTest : public testing::Test {
 protected:
  SaverTest() { run_.create(); }

  // A training with its saver; `lines` are what rank zero tells.
  struct Run {
    Run(const SaverTest& test, const config::Config& config_in, comm::Communicator& comm,
        files::FileLayer& layer = files::real_files())
        : config(config_in),
          training(config, comm),
          saver(config, test.run_, training, test.data_, training.comms,
                {[this](const std::string& line) { lines.push_back(line); }}, layer) {
      saver.prepare();
    }

    // Steps until `step` of them are done, as the trainer takes them.
    void train_to(int64_t step) {
      while (progress.step < step) {
        saver.look();
        Wishes wishes;
        saver.tell_of_part(wishes);
        const StepReport report = training.run(progress.step++, -1, wishes);
        saver.heed(report);
      }
    }
    void save(bool last = false) { saver.save(progress, last); }

    config::Config config;
    SimTraining training;
    std::vector<std::string> lines;
    Saver saver;
    RunProgress progress;
  };

  std::map<std::string, std::string> bytes_of(const fs::path& folder) const {
    std::map<std::string, std::string> bytes;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file())
        bytes[fs::relative(entry.path(), folder)] = files::read_file(entry.path());
    return bytes;
  }

  test::TemporaryFolder folder_{test::memory_or_disk()};
  RunFolder run_{folder_.path() / "run"};
  data::DatasetSummary data_{"0123", data::DataKind::continuous, {}, "points"};
};

config::Config at_once(config::Config config) {
  config.checkpoint.background = false;
  return config;
}

TEST_F(SaverTest, BesideTrainingAndAtOnceWriteTheSameBytesOnAnyRanks) {
  for (const int ranks : {1, 2, 4}) {
    std::map<std::string, std::string> bytes[2];
    for (const bool beside : {true, false}) {
      fs::remove_all(run_.root());
      run_.create();
      on_ranks(ranks, [&](comm::Communicator& comm) {
        Run run(*this, beside ? sim_config() : at_once(sim_config()), comm);
        run.train_to(2);
        run.save();
        run.train_to(4);  // while the writer may still be at it
        run.save(true);
        run.saver.finish(true);
      });
      bytes[beside] = bytes_of(run_.root());
      // These hold the one key that differs.
      std::erase_if(bytes[beside], [](const auto& entry) {
        return entry.first.ends_with("config.toml") || entry.first.ends_with("manifest.json") ||
               entry.first.starts_with("snapshots");
      });
    }
    EXPECT_EQ(bytes[0], bytes[1]) << ranks;
    EXPECT_TRUE(bytes[0].contains("checkpoints/0000004/optimizer.safetensors"));
    EXPECT_TRUE(fs::exists(run_.snapshot(2, "ema0.5")));
    EXPECT_TRUE(fs::exists(run_.snapshot(4, "ema0.5")));
  }
}

config::Config sharded(config::Config config = sim_config()) {
  config.train.shard_optimizer = true;
  return config;
}

TEST_F(SaverTest, ShardedStateIsWrittenInPartsThatAreTheSameTensors) {
  auto config = sharded();
  config.checkpoint.replica = folder_.path() / "copy";
  for (const int ranks : {2, 3, 4}) {
    checkpoint::TensorMap tensors[2], average[2];
    for (const bool beside : {true, false}) {
      fs::remove_all(run_.root());
      fs::remove_all(config.checkpoint.replica);
      run_.create();
      on_ranks(ranks, [&](comm::Communicator& comm) {
        Run run(*this, beside ? config : at_once(config), comm);
        run.train_to(3);
        run.save(true);
        run.saver.finish(true);
      });
      const auto found = checkpoint::open_latest(run_.checkpoints());
      const auto copied = checkpoint::open_latest(config.checkpoint.replica);
      EXPECT_EQ(found->manifest().files.contains(
                    checkpoint::part_name("optimizer.safetensors", ranks - 1, ranks)),
                beside);
      EXPECT_EQ(bytes_of(found->folder()), bytes_of(copied->folder()));
      for (const char* file : {"model.safetensors", "optimizer.safetensors", "ema.safetensors"})
        for (const auto& [name, values] : found->tensors(file).tensors)
          tensors[beside][file + name] = values;
      average[beside] = checkpoint::read_safetensors(run_.snapshot(3, "ema0.5")).tensors;
    }
    for (const auto& [of, other] : {std::pair(tensors[0], tensors[1]), {average[0], average[1]}}) {
      EXPECT_EQ(of.size(), other.size());
      for (const auto& [name, values] : of)
        EXPECT_TRUE(torch::equal(values, other.at(name))) << ranks << name;
    }
  }
}

TEST_F(SaverTest, LatestWaitsForTheSlowestPartAndTrainingForNone) {
  FrozenLayer frozen;
  on_ranks(2, [&](comm::Communicator& comm) {
    Run run(*this, sharded(), comm, comm.rank() == 1 ? frozen : files::real_files());
    run.train_to(2);
    run.save();
    run.train_to(9);
    EXPECT_FALSE(fs::exists(run_.checkpoints() / "latest"));
    comm.barrier("nothing there yet").wait();
    frozen.let_go();
    // A step tells of the end, after which rank zero publishes.
    const auto is_there = [&] {
      return comm::any_rank(comm, fs::exists(run_.checkpoints() / "latest"), "latest");
    };
    for (int64_t step = 10; step < 5000 && !is_there(); ++step) run.train_to(step);
    run.saver.finish(true);
  });
  EXPECT_EQ(checkpoint::open_latest(run_.checkpoints())->step(), 2);
}

TEST_F(SaverTest, APartThatCannotBeWrittenIsToldWithItsRankAndTheNextSaveTriesAgain) {
  for (const bool goes_on : {true, false}) {
    fs::remove_all(run_.root());
    run_.create();
    auto config = sharded();
    config.checkpoint.on_failure = goes_on ? "continue" : "stop";
    const auto errors = comm::run_simulated(2, {}, [&](comm::Communicator& comm) {
      FaultLayer full(3, FaultLayer::Fault::error, ENOSPC);
      Run run(*this, config, comm, comm.rank() == 1 ? full : files::real_files());
      run.train_to(1);
      run.save();
      run.saver.finish(false);
      if (comm.rank() == 0) {
        EXPECT_THAT(run.lines, ElementsAre(testing::AllOf(HasSubstr("step 1 not saved: rank 1: "),
                                                          HasSubstr("No space left"))));
      }
      run.train_to(2);
      run.save(true);
      run.saver.finish(true);
    });
    EXPECT_THAT(errors, testing::Each(goes_on ? testing::Matcher<std::string>(testing::IsEmpty())
                                              : HasSubstr("No space left")));
    const auto found = checkpoint::open_latest(run_.checkpoints());
    EXPECT_EQ(found.has_value(), goes_on);
    for (const auto& entry : fs::directory_iterator(run_.checkpoints()))
      EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos);
  }
}

TEST_F(SaverTest, WhatIsWrittenIsTheStateOfItsStepHoweverLateItIsWritten) {
  FrozenLayer disk;
  on_ranks(1, [&](comm::Communicator& comm) {
    Run run(*this, sim_config(), comm, disk);
    run.train_to(2);
    run.save();
    run.train_to(9);
    run.saver.look();  // nothing to tell yet
    EXPECT_TRUE(run.lines.empty());
    disk.let_go();
    run.saver.finish(true);
    EXPECT_THAT(run.lines, ElementsAre(testing::AllOf(
                               HasSubstr("step 2 saved: stall "), HasSubstr("s, written in "),
                               HasSubstr(" beside training, from a copy of "))));
  });
  torch::Tensor goes_on;
  on_ranks(1, [&](comm::Communicator& comm) {
    SimTraining training(sim_config(), comm);
    const RunProgress progress = restore_checkpoint(
        run_, sim_config(),
        {training.parameters, training.update, training.objective, training.spikes, data_}, comm);
    EXPECT_EQ(progress.step, 2);
    for (int64_t k = 2; k < 4; ++k) training.run(k);
    goes_on = training.weights();
  });
  EXPECT_TRUE(torch::equal(goes_on, weights_after(4, 1, sim_config())));
}

TEST_F(SaverTest, ADiskThatDoesNotAnswerIsNamedAfterItsLimitAndHoldsNobody) {
  auto config = sim_config();
  config.comm.link.limits.save = 0.05;
  static FrozenLayer disk;  // the thread that is given up may look at it for longer
  on_ranks(1, [&](comm::Communicator& comm) {
    Run run(*this, config, comm, disk);
    run.train_to(1);
    run.save();
    run.train_to(2);
    EXPECT_ERROR(run.save(), CheckpointError, "step 1", "comm.save_timeout_s", "does not answer");
  });
  disk.let_go();
  for (int i = 0; i < 1000 && !fs::is_empty(run_.checkpoints()); ++i) ::usleep(1000);
  EXPECT_TRUE(fs::is_empty(run_.checkpoints()));  // given up: it publishes nothing any more
}

TEST_F(SaverTest, AFullDiskEndsTheRun) {
  on_ranks(2, [&](comm::Communicator& comm) {
    FaultLayer disk(9, FaultLayer::Fault::error, ENOSPC);
    Run run(*this, sim_config(), comm, disk);
    run.train_to(1);
    run.save();
    if (comm.rank() == 0) EXPECT_ERROR(run.saver.finish(false), CheckpointError, "No space left");
  });
  EXPECT_TRUE(fs::is_empty(run_.checkpoints()));
}

TEST_F(SaverTest, AFullDiskIsToldAndTheNextSaveTriesAgainIfTheConfigSaysSo) {
  auto config = sim_config();
  config.checkpoint.on_failure = "continue";
  on_ranks(2, [&](comm::Communicator& comm) {
    FaultLayer disk(9, FaultLayer::Fault::error, ENOSPC);
    Run run(*this, config, comm, disk);
    run.train_to(1);
    run.save();
    run.train_to(2);
    run.save(true);
    run.saver.finish(true);
    if (comm.rank() == 0) {
      EXPECT_THAT(run.lines, ElementsAre(testing::AllOf(HasSubstr("step 1 not saved: "),
                                                        HasSubstr("No space left"),
                                                        HasSubstr("the next save tries again")),
                                         HasSubstr("step 2 saved")));
    }
  });
  EXPECT_EQ(checkpoint::open_latest(run_.checkpoints())->step(), 2);
}

TEST_F(SaverTest, TheLastSaveMustSucceed) {
  auto config = sim_config();
  config.checkpoint.on_failure = "continue";
  on_ranks(1, [&](comm::Communicator& comm) {
    FaultLayer disk(9, FaultLayer::Fault::error, ENOSPC);
    Run run(*this, config, comm, disk);
    run.train_to(1);
    run.save(true);
    EXPECT_ERROR(run.saver.finish(true), CheckpointError, "No space left");
  });
}

TEST_F(SaverTest, EverySecondSaveAndTheLastAlsoGoToTheReplica) {
  auto config = sim_config();
  const fs::path replica = folder_.path() / "elsewhere" / "copy";
  config.checkpoint.replica = replica;
  config.checkpoint.replica_every = 2;
  for (const bool beside : {true, false}) {
    fs::remove_all(run_.root());
    fs::remove_all(replica);
    run_.create();
    config.checkpoint.background = beside;
    config.checkpoint.keep = 9;
    on_ranks(2, [&](comm::Communicator& comm) {
      Run run(*this, config, comm);
      for (int64_t step = 1; step <= 5; ++step) {
        run.train_to(step);
        run.save(step == 5);
      }
      run.saver.finish(true);
    });
    for (int64_t step = 1; step <= 5; ++step) {
      const bool is_there = fs::exists(replica / files::step_name(step));
      EXPECT_EQ(is_there, step == 2 || step == 4 || step == 5) << step;
    }
    EXPECT_EQ(bytes_of(replica / "0000005"), bytes_of(run_.checkpoints() / "0000005"));
    EXPECT_EQ(files::read_file(replica / "latest"), "0000005\n");
  }
}

TEST_F(SaverTest, ALostFolderIsTakenUpFromTheReplicaOfTheSameRunAlone) {
  auto config = sim_config();
  config.checkpoint.replica = folder_.path() / "copy";
  on_ranks(1, [&](comm::Communicator& comm) {
    Run run(*this, config, comm);
    run.train_to(3);
    run.save(true);
    run.saver.finish(true);
  });
  const auto resumed = [&](const RunFolder& from) {
    RunProgress progress;
    const auto errors = comm::run_simulated(1, {}, [&](comm::Communicator& comm) {
      Run run(*this, config, comm);
      progress = restore_checkpoint(from, config, run.saver.state(), comm);
    });
    return std::pair(progress, errors[0]);
  };
  EXPECT_THAT(resumed(run_).first.warnings, testing::IsEmpty());
  fs::remove_all(run_.root());
  const RunProgress progress = resumed(run_).first;
  EXPECT_EQ(progress.step, 3);
  EXPECT_THAT(progress.warnings,
              ElementsAre(HasSubstr("no checkpoint. Using step 3 of checkpoint.replica")));
  EXPECT_THAT(resumed(RunFolder(folder_.path() / "another")).second,
              HasSubstr("holds the checkpoints of the run in " + run_.root().string()));
}

}  // namespace
}  // namespace scorenet::train
