// Ways of summing gradients, through the program: sharded, canonical, compressed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "framework/checkpoint/checkpoint_store.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

using testing::HasSubstr;

class GradientSum : public testing::Test {
 protected:
  GradientSum() : tiny_(make_tiny_run(folder_)) {}

  void train(int ranks, const std::string& name, const std::string& keys) const {
    const Outcome outcome =
        run((ranks == 1 ? std::string("SCORENET") : mpirun(ranks)) + " train " + tiny_.config +
            " --outdir " + (folder_ / name) + " --eval.every 0 --comm.check_every 10 " + keys);
    ASSERT_EQ(outcome.exit_code, 0) << name << ": " << outcome.err;
  }
  checkpoint::TensorMap tensors(const std::string& run, int step, const std::string& file) const {
    char name[64];
    std::snprintf(name, sizeof name, "/checkpoints/%07d", step);
    return checkpoint::open_checkpoint(folder_ / (run + name))
        .tensors(file + ".safetensors")
        .tensors;
  }
  // Largest difference between what two runs hold in one file.
  double gap(const std::string& a, const std::string& b, int step, const std::string& file) const {
    const auto first = tensors(a, step, file), second = tensors(b, step, file);
    EXPECT_EQ(first.size(), second.size());
    double most = 0;
    for (const auto& [name, tensor] : first)
      most = std::max(most, (tensor - second.at(name)).abs().max().item<double>());
    return most;
  }

  Folder folder_;
  TinyRun tiny_;
};

constexpr char kSharded[] = " --train.shard_optimizer true --train.weight_decay 0.1";
constexpr char kWhole[] = " --train.weight_decay 0.1";

TEST_F(GradientSum, ShardedTrainingHasTheWeightsMomentsAndAveragesOfUnshardedTraining) {
  // Small buckets, so that a rank's part has many pieces; three ranks divide nothing evenly.
  const std::string buckets =
      " --comm.bucket_mb 0.01 --comm.first_bucket_mb 0.002 --comm.last_bucket_mb 0.002 "
      "--train.steps 10 ";
  for (const int ranks : {2, 3, 4}) {
    const std::string n = std::to_string(ranks);
    train(ranks, "whole" + n, kWhole + buckets);
    train(ranks, "sharded" + n, kSharded + buckets);
    // One rounding of a norm, and sums whose order may differ with three ranks and more; Adam
    // turns such differences of gradients near zero into weight differences of a fraction of the
    // learning rate, 1e-3.
    const double tolerance = ranks <= 2 ? 1e-5 : 2e-3;
    EXPECT_LT(gap("whole" + n, "sharded" + n, 10, "model"), tolerance) << ranks;
    EXPECT_LT(gap("whole" + n, "sharded" + n, 10, "ema"), tolerance) << ranks;
    EXPECT_LT(gap("whole" + n, "sharded" + n, 10, "optimizer"), ranks <= 2 ? 1e-4 : 2e-2) << ranks;
  }
}

TEST_F(GradientSum, AShardedRunGoesOnAtAnotherRankCountAndUnsharded) {
  train(1, "straight", kWhole);
  train(3, "moved", std::string(kSharded) + " --train.steps 10");
  train(2, "moved", std::string(kSharded) + " --train.steps 15 --checkpoint.every 5");
  train(1, "moved", std::string(kWhole) + " --train.steps 20");
  EXPECT_LT(gap("straight", "moved", 20, "model"), 2e-3);  // as above
  EXPECT_LT(gap("straight", "moved", 20, "ema"), 2e-3);
  // and back: what was saved whole is shared out.
  train(2, "moved", std::string(kSharded) + " --train.steps 22 --checkpoint.every 1");
  EXPECT_EQ(tensors("moved", 22, "optimizer").at("adamw.step").item<float>(), 22.0f);
}

TEST_F(GradientSum, CanonicalTrainingIsBitEqualOnOneTwoAndFourRanksAfterFiftySteps) {
  const std::string keys =
      " --comm.canonical true --comm.virtual_shards 4 --train.steps 50 --checkpoint.every 50 "
      "--ema.decays 0.9 ";
  for (const int ranks : {1, 2, 4}) train(ranks, "c" + std::to_string(ranks), keys);
  for (const char* file : {"model", "optimizer", "ema"}) {
    EXPECT_EQ(gap("c1", "c2", 50, file), 0) << file;
    EXPECT_EQ(gap("c1", "c4", 50, file), 0) << file;
  }
  // Or the test could not fail: the usual sum rounds in another order.
  train(1, "plain", " --train.steps 50 --checkpoint.every 50");
  EXPECT_GT(gap("c1", "plain", 50, "model"), 0);
}

TEST_F(GradientSum, CanonicalTrainingIsBitEqualWithALearnedScheduleToo) {
  const std::string keys =
      " --comm.canonical true --comm.virtual_shards 4 --train.steps 10 --checkpoint.every 10 "
      "--diffusion.schedule vdm_learned --diffusion.learn_ends true ";
  for (const int ranks : {1, 4}) train(ranks, "l" + std::to_string(ranks), keys);
  for (const char* file : {"model", "optimizer"}) EXPECT_EQ(gap("l1", "l4", 10, file), 0) << file;
}

TEST_F(GradientSum, CompressedTrainingComesCloseAndGoesOnFromItsCheckpoint) {
  const std::string powersgd = " --comm.compression powersgd --comm.powersgd_rank 2 ";
  train(2, "exact", "");
  train(2, "bf16", " --comm.compression bf16");
  train(2, "psgd", powersgd);
  const auto last_loss = [&](const std::string& name) {
    return nlohmann::json::parse(lines_of(folder_ / (name + "/stats.jsonl")).back())["loss"]
        .get<double>();
  };
  // Gradients to 2^-7: the loss of twenty steps to a per cent. PowerSGD leaves out most
  // of each gradient.
  EXPECT_NEAR(last_loss("bf16"), last_loss("exact"), 0.01 * last_loss("exact"));
  EXPECT_NEAR(last_loss("psgd"), last_loss("exact"), 0.1 * last_loss("exact"));
  EXPECT_GT(gap("exact", "bf16", 20, "model"), 0);
  const auto state = tensors("psgd", 20, "compression");
  double error = 0;
  for (const auto& [name, tensor] : state) {
    if (name.starts_with("powersgd.error.")) error += tensor.norm().item<double>();
  }
  EXPECT_GT(error, 0);
  // Its error feedback is taken up at another rank count: the sum of all that was left out stays.
  train(3, "psgd", powersgd + "--train.steps 21 --checkpoint.every 1");
  EXPECT_THAT(text_of(folder_ / "psgd/log.txt"), HasSubstr("resumed at step 20"));
  // Uncompressed checkpoints go on compressed.
  train(2, "exact", powersgd + "--train.steps 21 --checkpoint.every 1");
}

TEST_F(GradientSum, Float16AdaptsItsScaleComesCloseAndGoesOnBitForBit) {
  const auto last_loss = [&](const std::string& name) {
    return nlohmann::json::parse(lines_of(folder_ / (name + "/stats.jsonl")).back())["loss"]
        .get<double>();
  };
  const std::string half = " --train.precision fp16 ";
  train(2, "single", "");
  train(2, "half", half);
  // The first scale is too large for this network's gradients: steps were left out until it fitted.
  EXPECT_THAT(text_of(folder_ / "half/log.txt"),
              HasSubstr("step 1: gradients overflow float16 at a loss scale of 65536, which is "
                        "halved (normal while it adapts); step left out on all ranks"));
  const double scale = tensors("half", 20, "optimizer").at("loss_scale")[0].item<double>();
  EXPECT_LT(scale, 65536);
  EXPECT_GE(scale, 1024);
  EXPECT_NEAR(last_loss("half"), last_loss("single"), 0.1 * last_loss("single"));
  EXPECT_GT(gap("half", "single", 20, "model"), 0);
  // The scale is part of the state.
  train(2, "parts", half + "--train.steps 10 --checkpoint.every 10");
  train(2, "parts", half);
  for (const char* file : {"model", "optimizer"}) EXPECT_EQ(gap("half", "parts", 20, file), 0);
  // Sharded and canonical sums divide it out as the usual one does. The norm's last bit, which
  // sharding adds up in another order, flips roundings to float16 within some steps; so four.
  const std::string four = half + "--train.steps 4 --checkpoint.every 4 ";
  train(2, "whole", four);
  train(2, "sharded", four + "--train.shard_optimizer true");
  train(2, "canonical", four + "--comm.canonical true --comm.virtual_shards 2");
  EXPECT_LT(gap("whole", "sharded", 4, "model"), 1e-6);
  EXPECT_LT(gap("whole", "canonical", 4, "model"), 1e-6);
  // What PowerSGD keeps back is of the scale of its step.
  train(2, "psgd", half + "--comm.compression powersgd --comm.powersgd_rank 2");
  EXPECT_NEAR(last_loss("psgd"), last_loss("single"), 0.15 * last_loss("single"));
}

TEST_F(GradientSum, ShardsThatTheRanksDoNotDivideAreRefusedWithTheRemedy) {
  const Outcome refused = run(mpirun(3) + " train " + tiny_.config + " --outdir " +
                              (folder_ / "x") + " --comm.canonical true --comm.virtual_shards 4");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("comm.virtual_shards = 4 with 3 ranks"));
}

}  // namespace
}  // namespace scorenet::test
