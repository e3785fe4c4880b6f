// Training over several processes: the same run at any rank count, and what happens when a rank
// dies, freezes or is told to stop.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/data/hdf5.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class Distributed : public testing::Test {
 protected:
  Distributed() : tiny_(make_tiny_run(folder_)) {}

  std::string train(int ranks, const std::string& name, const std::string& keys = "") const {
    return (ranks == 1 ? std::string("SCORENET") : mpirun(ranks)) + " train " + tiny_.config +
           " --outdir " + (folder_ / name) + " --eval.every 0 " + keys;
  }
  std::vector<double> losses(const std::string& name) const {
    std::vector<double> all;
    for (const auto& line : lines_of(folder_ / (name + "/stats.jsonl")))
      all.push_back(nlohmann::json::parse(line)["loss"]);
    return all;
  }
  std::string weights_file(const std::string& name) const {
    return folder_ / (name + "/checkpoints/0000020/model.safetensors");
  }

  // Largest difference between the weights of two runs.
  double weight_gap(const std::string& a, const std::string& b) const {
    const auto first = checkpoint::read_safetensors(weights_file(a)).tensors;
    const auto second = checkpoint::read_safetensors(weights_file(b)).tensors;
    double gap = 0;
    for (const auto& [name, tensor] : first)
      gap = std::max(gap, (tensor - second.at(name)).abs().max().item<double>());
    return gap;
  }

  Folder folder_;
  TinyRun tiny_;
};

TEST_F(Distributed, TwentyStepsAreTheSameOnOneTwoThreeAndFourRanks) {
  for (int ranks = 1; ranks <= 4; ++ranks) {
    const Outcome outcome = run(train(ranks, "r" + std::to_string(ranks)));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  const auto one = losses("r1");
  ASSERT_EQ(one.size(), 20u);
  for (int ranks = 2; ranks <= 4; ++ranks) {
    const std::string name = "r" + std::to_string(ranks);
    const auto many = losses(name);
    ASSERT_EQ(many.size(), 20u);
    // Same samples, times, noise and dropout: the first loss differs by the rounding of float32
    // sums alone; after that Adam turns gradient differences near its epsilon into weight
    // differences of up to the learning rate.
    EXPECT_NEAR(many[0], one[0], 1e-6 * one[0]) << ranks;
    for (size_t step = 0; step < one.size(); ++step)
      EXPECT_NEAR(many[step], one[step], 1e-3 * one[step]) << ranks << ' ' << step;
    EXPECT_LT(weight_gap("r1", name), 2e-3)
        << ranks;  // twenty steps of at most 1e-3 each, nearly all cancelled
  }
}

TEST_F(Distributed, MicroBatchesAndUnevenSharesAreTheSameTrainingToo) {
  ASSERT_EQ(run(train(1, "whole")).exit_code, 0);
  ASSERT_EQ(run(train(1, "micro", "--train.micro_batch 5")).exit_code, 0);
  const auto whole = losses("whole"), micro = losses("micro");
  for (size_t step = 0; step < whole.size(); ++step)
    EXPECT_NEAR(micro[step], whole[step], 1e-3 * whole[step]);

  ASSERT_EQ(run(train(1, "odd1", "--train.batch_size 13")).exit_code, 0);
  const Outcome odd = run(train(3, "odd3", "--train.batch_size 13 --train.uneven true"));
  ASSERT_EQ(odd.exit_code, 0) << odd.err;
  const auto one = losses("odd1"), three = losses("odd3");
  for (size_t step = 0; step < one.size(); ++step)
    EXPECT_NEAR(three[step], one[step], 1e-3 * one[step]);
}

TEST_F(Distributed, ABatchThatDoesNotDivideIsRefusedOnce) {
  const Outcome refused = run(train(2, "odd", "--train.batch_size 13"));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("12 and 14"));
  EXPECT_EQ(refused.err.find("12 and 14"), refused.err.rfind("12 and 14"));
}

TEST_F(Distributed, StoppedByUsr1AndStartedAgainEqualsTheUndisturbedRunBitForBit) {
  ASSERT_EQ(run(train(2, "straight", "--train.steps 300 --checkpoint.every 300")).exit_code, 0);
  const std::string command = train(2, "stopped", "--train.steps 300 --checkpoint.every 300");
  Background job(command);
  ASSERT_TRUE(wait_for_lines(folder_ / "stopped/stats.jsonl", 5, 60));
  // One rank alone is told; all stop at the same step.
  const auto ranks = rank_processes(folder_ / "stopped");
  ASSERT_EQ(ranks.size(), 2u);
  kill(ranks[1], SIGUSR1);
  const Outcome stopped = job.finish(60);
  EXPECT_EQ(stopped.exit_code, 75) << stopped.err;
  EXPECT_THAT(stopped.out, HasSubstr("stopped by a signal"));
  ASSERT_EQ(run(command).exit_code, 0);
  EXPECT_EQ(text_of(folder_ / "stopped/checkpoints/0000300/model.safetensors"),
            text_of(folder_ / "straight/checkpoints/0000300/model.safetensors"));
  EXPECT_EQ(text_of(folder_ / "stopped/checkpoints/0000300/ema.safetensors"),
            text_of(folder_ / "straight/checkpoints/0000300/ema.safetensors"));
}

TEST_F(Distributed, AKilledRankEndsTheJobAndTheSameCommandResumes) {
  const std::string command = train(3, "killed", "--train.steps 400 --checkpoint.every 5");
  Background job(command);
  ASSERT_TRUE(wait_for_lines(folder_ / "killed/stats.jsonl", 12, 60));
  const auto ranks = rank_processes(folder_ / "killed");
  ASSERT_EQ(ranks.size(), 3u);
  kill(ranks[1], SIGKILL);
  const Outcome dead = job.finish(30);
  EXPECT_NE(dead.exit_code, 0);
  EXPECT_NE(dead.exit_code, 124) << "the job outlived its rank by 30 s";
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_TRUE(rank_processes(folder_ / "killed").empty()) << "an orphan is left";
  const Outcome resumed = run(train(3, "killed", "--train.steps 30 --checkpoint.every 5"));
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.out, HasSubstr("resumed at step"));
}

TEST_F(Distributed, ARankKilledInAnyPhaseEndsTheJob) {
  // Runs that spend nearly all their time in one phase; the first is hit before it has
  // taken a step.
  const std::pair<const char*, std::string> phases[] = {
      {"start", "--train.steps 100000"},
      {"save", "--train.steps 100000 --checkpoint.every 1 --checkpoint.keep 1"},
      {"evaluate", "--train.steps 100000 --eval.every 1 --eval.time_samples 2000"}};
  for (const auto& [phase, keys] : phases) {
    Background job(train(2, phase, keys));
    std::vector<pid_t> ranks;
    for (int i = 0; i < 600 && ranks.size() < 2; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      ranks = rank_processes(folder_ / phase);
    }
    ASSERT_EQ(ranks.size(), 2u) << phase;
    if (std::string(phase) != "start") {
      ASSERT_TRUE(wait_for_lines(folder_ / (std::string(phase) + "/stats.jsonl"), 1, 60)) << phase;
    }
    kill(ranks[1], SIGKILL);
    const Outcome dead = job.finish(30);
    EXPECT_NE(dead.exit_code, 0) << phase;
    EXPECT_NE(dead.exit_code, 124) << phase << ": the job outlived its rank by 30 s";
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    EXPECT_TRUE(rank_processes(folder_ / phase).empty()) << phase;
  }
}

TEST_F(Distributed, AFrozenRankIsNamedWithinTheLimit) {
  Background job(train(2, "frozen", "--train.steps 100000 --comm.heartbeat_limit_s 4"));
  ASSERT_TRUE(wait_for_lines(folder_ / "frozen/stats.jsonl", 3, 60));
  const auto ranks = rank_processes(folder_ / "frozen");
  ASSERT_EQ(ranks.size(), 2u);
  kill(ranks[1], SIGSTOP);
  const Outcome ended =
      job.finish(4 + 5 + 2);  // the limit, its promise of 5 s, and mpirun's own end
  EXPECT_EQ(ended.exit_code, 5) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("rank 1"));
}

TEST_F(Distributed, ANonFiniteLossHaltsAllRanksAndNamesRankAndSample) {
  const std::string data = " --data.path " + write_overflowing_data(folder_);
  const Outcome halted = run(train(2, "halted", data));
  EXPECT_EQ(halted.exit_code, 4) << halted.err;
  EXPECT_THAT(halted.err, AllOf(HasSubstr("rank"), HasSubstr("sample 17"), HasSubstr("t =")));
}

TEST_F(Distributed, SkippingLeavesOutTheSameStepsOnAllRanksAndCountsThem) {
  const std::string data = " --data.path " + write_overflowing_data(folder_);
  // Sample 17 comes once in every epoch of 24 images: in 10 of 20 steps of 12. check_every compares
  // the weights of the ranks.
  const Outcome skipped =
      run(train(2, "skipped", data + " --train.on_nonfinite skip --comm.check_every 1"));
  ASSERT_EQ(skipped.exit_code, 0) << skipped.err;
  EXPECT_EQ(nlohmann::json::parse(lines_of(folder_ / "skipped/stats.jsonl").back())["skipped"], 10);
}

TEST_F(Distributed, EvaluationIsTheSameForAnyRankCountAndDoesNotDependOnWhoDoesIt) {
  ASSERT_EQ(run(train(1, "e")).exit_code, 0);
  const std::string rest =
      " evaluate --network " + (folder_ / "e/snapshots/network-0000020-ema0.9.safetensors") +
      " --data " + tiny_.data + " --split train --batch 6 --metrics elbo --json ";
  std::vector<double> means;
  for (int ranks = 1; ranks <= 3; ++ranks) {
    const std::string json = folder_ / ("e" + std::to_string(ranks) + ".json");
    const Outcome outcome = run((ranks == 1 ? "SCORENET" : mpirun(ranks)) + rest + json);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto report = nlohmann::json::parse(text_of(json));
    EXPECT_EQ(report["world_size"], ranks);
    means.push_back(report["metrics"]["elbo"]["nats_mean"]);
  }
  EXPECT_NEAR(means[1], means[0], 1e-12 * means[0]);
  EXPECT_NEAR(means[2], means[0], 1e-12 * means[0]);
}

TEST_F(Distributed, EvaluatingOnAllRanksGivesRankZerosNumbers) {
  ASSERT_EQ(run(mpirun(2) + " train " + tiny_.config + " --outdir " + (folder_ / "zero")).exit_code,
            0);
  ASSERT_EQ(run(mpirun(2) + " train " + tiny_.config + " --outdir " + (folder_ / "all") +
                " --eval.ranks all")
                .exit_code,
            0);
  const auto mean = [&](const char* name) {
    return nlohmann::json::parse(text_of(
        folder_ / (std::string(name) + "/eval/eval-0000020.json")))["metrics"]["elbo"]["nats_mean"]
        .get<double>();
  };
  EXPECT_NEAR(mean("all"), mean("zero"), 1e-12 * mean("zero"));
}

TEST_F(Distributed, ASampleDependsOnItsSeedAlone) {
  ASSERT_EQ(run(train(1, "s")).exit_code, 0);
  const std::string rest = " sample --network " +
                           (folder_ / "s/snapshots/network-0000020-ema0.9.safetensors") +
                           " --sampler ancestral --steps 4 --batch 2 --outdir ";
  ASSERT_EQ(run("SCORENET" + rest + (folder_ / "a") + " --seeds 0-5 --save-h5").exit_code, 0);
  const Outcome many = run(mpirun(3) + rest + (folder_ / "b") + " --seeds 0-5 --save-h5");
  ASSERT_EQ(many.exit_code, 0) << many.err;
  const auto samples = [&](const char* name) {
    return data::Hdf5File::open(folder_ / (std::string(name) + "/samples.h5"))
        .array("/samples")
        .read_all(torch::kFloat64);
  };
  EXPECT_TRUE(torch::equal(samples("a"), samples("b")));
  // Another batch rounds its float32 sums in another order, and does nothing else.
  ASSERT_EQ(run("SCORENET" + rest + (folder_ / "c") + " --seeds 3 --save-h5").exit_code, 0);
  EXPECT_LT((samples("c")[0] - samples("a")[3]).abs().max().item<double>(), 1e-4);
}

TEST_F(Distributed, ARankWithAnotherConfigIsNamedBeforeTraining) {
  // Rank 1 is started with another seed: the first difference is told with both values.
  const std::string program =
      " SCORENET train " + tiny_.config + " --outdir " + (folder_ / "differ");
  const Outcome refused = run("mpirun --oversubscribe -n 1" + program + " --train.seed 1 : -n 1" +
                              program + " --train.seed 2");
  EXPECT_EQ(refused.exit_code, 2) << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("train.seed"), HasSubstr("1"), HasSubstr("2")));
}

}  // namespace
}  // namespace scorenet::test
