// train.init: a new run that starts from a snapshot's weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "framework/checkpoint/safetensors.hpp"
#include "tests/launch/trained_once.hpp"

namespace scorenet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

constexpr char kDdpm[] =
    " --eval.every 0 --diffusion.schedule vp_linear --diffusion.prediction eps --diffusion.loss "
    "simple --model.timesteps 1000 ";

// Trained for a while, and brought in from a folder of diffusers: file("ddpm.safetensors").
class Init : public TrainedOnce<Init> {
 protected:
  static void SetUpTestSuite() {
    if (folder_) return;
    train_once(120, std::string(kDdpm) + "--train.learning_rate 3e-3");
    ASSERT_EQ(run("SCORENET convert to-diffusers " + snapshot() + " --outdir " + file("theirs"))
                  .exit_code,
              0);
    for (const auto& entry : fs::recursive_directory_iterator(file("theirs")))
      if (entry.path().filename() == "scorenet.toml") {
        fs::remove(entry.path());
        break;
      }
    const Outcome imported = run("SCORENET convert from-diffusers " + file("theirs") + " --out " +
                                 file("ddpm.safetensors"));
    ASSERT_EQ(imported.exit_code, 0) << imported.err;
  }

  static std::string tune(int ranks, const std::string& name, const std::string& keys = "") {
    return (ranks == 1 ? std::string("SCORENET") : mpirun(ranks)) + " train " + tiny_.config +
           " --outdir " + file(name) + kDdpm + "--train.init " + file("ddpm.safetensors") + " " +
           keys;
  }
  static std::vector<double> losses(const std::string& name) {
    std::vector<double> all;
    for (const auto& line : lines_of(file(name + "/stats.jsonl")))
      all.push_back(nlohmann::json::parse(line)["loss"]);
    return all;
  }
  static std::string weights(const std::string& name, int step) {
    return file(name + "/checkpoints/00000" + std::to_string(step) + "/model.safetensors");
  }
};

TEST_F(Init, AnImportedNetworkIsTunedAlikeOnOneAndTwoRanksFromALowerLossThanChance) {
  const Outcome one = run(tune(1, "one")), two = run(tune(2, "two"));
  ASSERT_EQ(one.exit_code, 0) << one.err;
  ASSERT_EQ(two.exit_code, 0) << two.err;
  EXPECT_THAT(one.out, AllOf(HasSubstr("tensors of " + file("ddpm.safetensors")),
                             Not(HasSubstr("new, from")), Not(HasSubstr("left over"))));
  // The same images, times and noise as the first step from random weights, which say 0 of a noise
  // of variance 1.
  const auto tuned = losses("one"), tuned2 = losses("two"), random = losses("run");
  EXPECT_NEAR(random[0], 1, 0.1);
  EXPECT_LT(tuned[0], 0.7 * random[0]);
  EXPECT_NEAR(tuned2[0], tuned[0], 1e-6 * tuned[0]);
  for (size_t step = 0; step < tuned.size(); ++step)
    EXPECT_NEAR(tuned2[step], tuned[step], 2e-3 * tuned[step]) << step;
}

TEST_F(Init, InCanonicalOrderTheRanksDoNotChangeABit) {
  const std::string keys = "--comm.canonical true --comm.virtual_shards 4 --train.steps 10";
  for (int ranks : {1, 2}) {
    const Outcome done = run(tune(ranks, "canonical" + std::to_string(ranks), keys));
    ASSERT_EQ(done.exit_code, 0) << done.err;
  }
  EXPECT_EQ(text_of(weights("canonical1", 10)), text_of(weights("canonical2", 10)));
}

// A step of next to no length: weights and averages are still those that were brought in, on two
// ranks that share the averages too.
TEST_F(Init, AveragesStartFromTheWeights) {
  const Outcome done =
      run(tune(2, "still",
               "--train.steps 1 --train.warmup_steps 0 --train.learning_rate 1e-12 "
               "--train.weight_decay 0 --train.shard_optimizer true"));
  ASSERT_EQ(done.exit_code, 0) << done.err;
  const auto from = checkpoint::read_safetensors(file("ddpm.safetensors")).tensors;
  const auto average =
      checkpoint::read_safetensors(file("still/snapshots/network-0000001-ema0.9.safetensors"))
          .tensors;
  ASSERT_EQ(average.size(), from.size());
  for (const auto& [name, tensor] : from)
    EXPECT_TRUE(torch::allclose(average.at(name), tensor, 1e-5, 1e-7)) << name;
}

TEST_F(Init, AResumedRunTakesItsCheckpointEvenWhereTheFileIsGone) {
  fs::copy_file(file("ddpm.safetensors"), file("gone.safetensors"));
  const std::string key = "--train.init " + file("gone.safetensors") + " ";
  const auto of = [&](const std::string& name, const std::string& keys) {
    return run("SCORENET train " + tiny_.config + " --outdir " + file(name) + kDdpm + key + keys);
  };
  ASSERT_EQ(of("straight", "").exit_code, 0);
  ASSERT_EQ(of("broken", "--train.steps 10").exit_code, 0);
  fs::remove(file("gone.safetensors"));
  const Outcome resumed = of("broken", "");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.out, AllOf(HasSubstr("weights         of the checkpoint"),
                                 Not(HasSubstr("train.init_digest ="))));
  EXPECT_EQ(text_of(weights("broken", 20)), text_of(weights("straight", 20)));
  EXPECT_THAT(of("new", "").err, HasSubstr("gone.safetensors"));
}

TEST_F(Init, TheRunKeepsWhatItWasStartedFromAndRefusesAnotherFile) {
  ASSERT_EQ(run(tune(1, "kept", "--train.steps 1 --train.warmup_steps 0")).exit_code, 0);
  const std::string kept = text_of(file("kept/config.toml"));
  EXPECT_THAT(kept, HasSubstr("init = \"" + file("ddpm.safetensors") + "\""));
  const size_t at = kept.find("init_digest = \"");
  ASSERT_NE(at, std::string::npos);
  const std::string digest = kept.substr(at + 15, 32);
  EXPECT_EQ(digest.find('"'), std::string::npos) << digest;
  // The same config with the run's other snapshot: another file.
  const Outcome other = run("SCORENET train " + file("kept/config.toml") + " --outdir " +
                            file("other") + " --train.init " + file("run"));
  EXPECT_EQ(other.exit_code, 6);
  EXPECT_THAT(other.err, AllOf(HasSubstr(snapshot()), HasSubstr("expected " + digest)));
  const Outcome same =
      run("SCORENET train " + file("kept/config.toml") + " --outdir " + file("same"));
  EXPECT_EQ(same.exit_code, 0) << same.err;
}

TEST_F(Init, WhatIsNewWhatIsLeftOverAndWhatMeansSomethingElseIsListed) {
  const Outcome more = run(tune(1, "more", "--model.attention true,true --dry-run"));
  EXPECT_EQ(more.exit_code, 0) << more.err;
  EXPECT_THAT(more.out, AllOf(HasSubstr("new, from train.seed: down_blocks.0.attentions.0."),
                              HasSubstr("more tensors"), Not(HasSubstr("left over"))));
  const Outcome less =
      run(tune(1, "less", "--model.attention false,false --model.timesteps 0 --dry-run"));
  EXPECT_EQ(less.exit_code, 0) << less.err;
  EXPECT_THAT(less.out,
              AllOf(HasSubstr("left over, not used: down_blocks.1.attentions.0."),
                    HasSubstr("warning         model.timesteps = 0, its weights were trained with "
                              "1000")));
}

TEST_F(Init, WhatDoesNotFitIsRefusedWithBothShapes) {
  const Outcome wide = run(tune(1, "wide", "--model.channels 8,16"));
  EXPECT_EQ(wide.exit_code, 6);
  EXPECT_THAT(wide.err, AllOf(HasSubstr("tensor 'down_blocks.1.resnets.0.conv1.weight'"),
                              HasSubstr("shape (8, 8, 3, 3)"), HasSubstr("has (16, 8, 3, 3)")))
      << wide.err;
}

TEST_F(Init, AFileOfOtherNamesAndWhatIsNoSnapshotAreRefused) {
  auto stranger = checkpoint::read_safetensors(file("ddpm.safetensors"));
  for (const char* key : {"scorenet.digest", "scorenet.tensor_digests"})
    stranger.metadata.erase(key);
  checkpoint::write_safetensors(file("stranger.safetensors"), {{"a", torch::zeros({1})}},
                                stranger.metadata);
  checkpoint::write_safetensors(file("plain.safetensors"), {{"a", torch::zeros({1})}});
  fs::create_directories(file("empty/snapshots"));
  const std::pair<std::string, std::string> cases[] = {
      {"stranger.safetensors", "has no tensor of this network, such as conv_in.weight"},
      {"plain.safetensors", "so it is no scorenet snapshot"},
      {"none.safetensors", "none.safetensors"},
      {"empty", "is a folder without snapshots/network-*.safetensors"},
      {"theirs", "what scorenet convert from-diffusers wrote"}};
  for (const auto& [name, sentence] : cases) {
    const Outcome refused = run("SCORENET train " + tiny_.config + " --outdir " + file("refused") +
                                " --train.init " + file(name));
    EXPECT_EQ(refused.exit_code, 6) << name;
    EXPECT_THAT(refused.err, HasSubstr(sentence)) << name;
  }
  fs::create_directories(file("two/snapshots"));
  for (const char* average : {"0.9", "0.99"})
    fs::copy_file(snapshot(), file("two/snapshots/network-0000120-ema") + average + ".safetensors");
  EXPECT_THAT(run("SCORENET train " + tiny_.config + " --outdir " + file("refused") +
                  " --train.init " + file("two"))
                  .err,
              HasSubstr("has several snapshots of step 120, network-0000120-ema0.9.safetensors"));
}

}  // namespace
}  // namespace scorenet::test
