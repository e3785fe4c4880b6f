// Series, images and volumes, with periodic axes: trained, evaluated and sampled as a user does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "framework/data/hdf5.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

using testing::HasSubstr;

class Axes : public testing::Test {
 protected:
  // Values in [-1, 1] that tell every place from the others.
  std::string data(const std::vector<int64_t>& shape) const {
    std::vector<int64_t> all{32};
    all.insert(all.end(), shape.begin(), shape.end());
    int64_t count = 1;
    for (const int64_t n : all) count *= n;
    const torch::Tensor x = torch::arange(count, torch::kFloat32).mul(0.7).sin().view(all);
    auto file = data::Hdf5File::create(folder_ / "data.h5");
    for (const char* split : {"train", "validation"})
      file.write_array("/" + std::string(split) + "/images", x, {});
    file.close();
    return folder_ / "data.h5";
  }
  std::string train(const std::string& name, const std::string& keys, int ranks = 1) const {
    return (ranks == 1 ? std::string("SCORENET") : mpirun(ranks)) + " train " + tiny_.config +
           " --data.path " + (folder_ / "data.h5") + " --outdir " + (folder_ / name) +
           " --train.batch_size 8 --train.steps 4 --checkpoint.every 4 --eval.every 4 --eval.n 8 "
           "--eval.samples 4 " +
           keys;
  }
  std::string snapshot(const std::string& name) const {
    return folder_ / (name + "/snapshots/network-0000004-ema0.9.safetensors");
  }
  double last_loss(const std::string& name) const {
    return nlohmann::json::parse(lines_of(folder_ / (name + "/stats.jsonl")).back())["loss"];
  }
  void expect_evaluated_and_sampled(const std::string& name, const std::vector<int64_t>& shape) {
    const Outcome bound = run("SCORENET evaluate --network " + snapshot(name) + " --data " +
                              (folder_ / "data.h5") + " --split validation --metrics elbo,ode " +
                              "--n 2 --json " + (folder_ / (name + ".json")));
    ASSERT_EQ(bound.exit_code, 0) << bound.err;
    const auto json = nlohmann::json::parse(text_of(folder_ / (name + ".json")));
    EXPECT_TRUE(json["metrics"]["ode"]["nats_mean"].is_number());
    const Outcome drawn =
        run("SCORENET sample --network " + snapshot(name) + " --seeds 0-2 --sampler heun " +
            "--steps 3 --save-h5 --outdir " + (folder_ / (name + "-samples")));
    ASSERT_EQ(drawn.exit_code, 0) << drawn.err;
    std::vector<int64_t> expected{3};
    expected.insert(expected.end(), shape.begin(), shape.end());
    const auto file = data::Hdf5File::open(folder_ / (name + "-samples/samples.h5"));
    EXPECT_EQ(file.array("/samples").info().shape, expected);
  }

  Folder folder_;
  TinyRun tiny_ = make_tiny_run(folder_);
};

TEST_F(Axes, AUNetLearnsSeriesAndVolumesAndRecomputesThem) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{2, 12}, std::vector<int64_t>{1, 4, 6, 8}}) {
    data(shape);
    const std::string name = "axes" + std::to_string(shape.size() - 1);
    const Outcome kept = run(train(name, "--model.padding periodic"));
    ASSERT_EQ(kept.exit_code, 0) << kept.err;
    const Outcome again =
        run(train(name + "again", "--model.padding periodic --model.recompute true", 2));
    ASSERT_EQ(again.exit_code, 0) << again.err;
    EXPECT_NEAR(last_loss(name), last_loss(name + "again"), 1e-4 * last_loss(name));
    expect_evaluated_and_sampled(name, shape);
    const Outcome foreign = run("SCORENET convert to-diffusers " + snapshot(name) + " --outdir " +
                                (folder_ / (name + "-foreign")));
    EXPECT_EQ(foreign.exit_code, 6);
    EXPECT_THAT(foreign.err, HasSubstr("only a plain unet of images has"));
  }
}

TEST_F(Axes, ATransformerLearnsAVolumeWithOnePeriodicAxis) {
  data({1, 3, 4, 6});
  const std::string keys =
      "--model.type dit --model.width 24 --model.depth 2 --model.heads 2 "
      "--model.padding zeros,zeros,periodic";
  const Outcome trained = run(train("dit", keys));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const Outcome by_two = run(train("dit2", keys, 2));
  ASSERT_EQ(by_two.exit_code, 0) << by_two.err;
  EXPECT_NEAR(last_loss("dit"), last_loss("dit2"), 1e-4 * last_loss("dit"));
  EXPECT_THAT(text_of(folder_ / "dit/config.toml"),
              HasSubstr(R"(padding = ["zeros", "zeros", "periodic"])"));
  expect_evaluated_and_sampled("dit", {1, 3, 4, 6});
}

TEST_F(Axes, WhatAnAxisCannotBeIsSaidBeforeTraining) {
  data({1, 9});
  const auto refused = [&](const std::string& keys, const std::string& text) {
    const Outcome outcome = run(train("refused", keys));
    EXPECT_EQ(outcome.exit_code, 2) << keys;
    EXPECT_THAT(outcome.err, HasSubstr(text));
  };
  refused("--model.padding periodic", "axis 0 of 9 places is periodic");
  refused("--model.padding reflect", "must be one of zeros, periodic");
  refused("--model.padding zeros,zeros", "2 entries for examples with 1 axes");
  refused("--model.type mlp --model.padding periodic", "points have no axes");
}

}  // namespace
}  // namespace scorenet::test
