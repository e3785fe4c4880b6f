// scorenet sample --like: a file like the one that was trained on, drawn in parts that a later
// start takes up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <torch/utils.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "framework/core/pixels.hpp"
#include "framework/data/hdf5.hpp"
#include "tests/launch/gaussian_model.hpp"
#include "tests/launch/trained_once.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class SampleLike : public TrainedOnce<SampleLike> {
 protected:
  static void SetUpTestSuite() {
    train_once(2, "--eval.every 0");
    // As a site stores it: chunks, gzip, attributes on file, group and array.
    auto like = data::Hdf5File::create(file("like.h5"));
    const auto images = torch::arange(60 * 64, torch::kInt64).remainder(251).to(torch::kUInt8);
    like.write_array("/train/images", images.view({60, 1, 8, 8}), {16, 4});
    like.write_array("/other", torch::zeros({3}));
    like.set_attribute("/", "experiment", "twin");
    like.set_attribute("/train", "period", "2024");
    like.set_attribute("/train/images", "units", "counts");
    like.close();
  }
  static std::string command(const std::string& out, const std::string& options) {
    const bool says = options.find("--steps") != std::string::npos;
    return "sample --network " + snapshot() + " --sampler ddim --like " + file("like.h5") +
           " --out " + file(out) + " " + options + (says ? "" : " --steps 2");
  }
  static Outcome sample(const std::string& out, const std::string& options, int ranks = 1) {
    const std::string program = ranks == 1 ? "SCORENET" : mpirun(ranks);
    return run("OMP_NUM_THREADS=1 " + program + " " + command(out, options));
  }
  static torch::Tensor images(const std::string& out) {
    return data::Hdf5File::open(file(out)).array("/train/images").read_all(torch::kUInt8);
  }
};

TEST_F(SampleLike, WritesNameTypeStorageAndAttributesOfTheTrainingFile) {
  const Outcome outcome = sample("out.h5", "--seeds 0-20");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto out = data::Hdf5File::open(file("out.h5"));
  const auto info = out.array("/train/images").info();
  EXPECT_EQ(info.type_name, "uint8");
  EXPECT_EQ(info.shape, (std::vector<int64_t>{21, 1, 8, 8}));
  EXPECT_EQ(info.chunk, (std::vector<int64_t>{16, 1, 8, 8}));
  EXPECT_TRUE(info.compressed);
  EXPECT_EQ(out.attribute("/", "experiment"), "twin");
  EXPECT_EQ(out.attribute("/train", "period"), "2024");
  EXPECT_EQ(out.attribute("/train/images", "units"), "counts");
  EXPECT_FALSE(out.has("/other"));
  EXPECT_FALSE(fs::exists(file("out.h5.parts")));

  // The same samples as --save-h5, in levels.
  ASSERT_EQ(run("OMP_NUM_THREADS=1 SCORENET sample --network " + snapshot() +
                " --sampler ddim --steps 2 --save-h5 --seeds 0-20 --outdir " + file("s"))
                .exit_code,
            0);
  const auto plain = read_array(file("s/samples.h5"), "/samples");
  EXPECT_TRUE(torch::equal(images("out.h5"), pixels_from_data(plain)));
}

TEST_F(SampleLike, IsTheSameFileOnAnyRanksAndInTheOrderOfTheSeeds) {
  ASSERT_EQ(sample("one.h5", "--seeds 0-40 --batch 2").exit_code, 0);
  ASSERT_EQ(sample("three.h5", "--seeds 0-40 --batch 2", 3).exit_code, 0);
  EXPECT_TRUE(torch::equal(images("one.h5"), images("three.h5")));
  ASSERT_EQ(sample("turned.h5", "--seeds 40,3").exit_code, 0);
  EXPECT_TRUE(
      torch::equal(images("turned.h5"), images("one.h5").index_select(0, torch::tensor({40, 3}))));
}

TEST_F(SampleLike, ADrawThatWasKilledGoesOnFromItsParts) {
  const std::string options = "--seeds 0-63 --batch 1 --steps 20";
  {
    Background killed("OMP_NUM_THREADS=1 SCORENET " + command("long.h5", options));
    const fs::path second = file("long.h5.parts/part-0000001.safetensors");
    for (int i = 0; i < 3000 && !fs::exists(second); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_TRUE(fs::exists(second));
    kill(-killed.pid(), SIGKILL);
    killed.finish(20);
  }
  ASSERT_FALSE(fs::exists(file("long.h5")));
  const Outcome resumed = sample("long.h5", options);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, Not(HasSubstr(" of 8 of rank 0")));  // some were there
  ASSERT_EQ(sample("whole.h5", options).exit_code, 0);
  EXPECT_TRUE(torch::equal(images("long.h5"), images("whole.h5")));
}

TEST_F(SampleLike, PartsOfAnotherDrawAreDrawnAgain) {
  // Killed behind its first part, then asked for other seeds and another number of steps.
  const auto killed_behind_first_part = [](const std::string& options) {
    Background killed("OMP_NUM_THREADS=1 SCORENET " + command("other.h5", options));
    const fs::path first = file("other.h5.parts/part-0000000.safetensors");
    for (int i = 0; i < 3000 && !fs::exists(first); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(-killed.pid(), SIGKILL);
    killed.finish(20);
    return fs::exists(first);
  };
  ASSERT_TRUE(killed_behind_first_part("--seeds 0-63 --batch 1 --steps 20"));
  ASSERT_EQ(sample("other.h5", "--seeds 100-107 --batch 1").exit_code, 0);
  ASSERT_EQ(sample("plain.h5", "--seeds 100-107 --batch 1").exit_code, 0);
  EXPECT_TRUE(torch::equal(images("other.h5"), images("plain.h5")));
}

TEST_F(SampleLike, ChannelsAndAxesGoBackToTheirArrays) {
  // Two data sets stacked as channels, the channel last in one of them and without an axis in the
  // other; no groups of splits.
  {
    auto stacked = data::Hdf5File::create(file("stacked.h5"));
    stacked.write_array("/pressure", torch::rand({24, 8, 8}));
    stacked.write_array("/velocity", torch::rand({24, 8, 8, 2}, torch::kFloat64), {5, 1});
    stacked.set_attribute("/velocity", "units", "m/s");
    stacked.close();
  }
  const std::string keys = " --data.path " + file("stacked.h5") +
                           " --data.arrays pressure,velocity --data.channel_axis -1 "
                           "--data.splits '{ train = \"0:24\" }' --eval.every 0 --train.steps 2";
  const Outcome trained =
      run("OMP_NUM_THREADS=1 SCORENET train " + tiny_.config + " --outdir " + file("map") + keys);
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const std::string sample = "OMP_NUM_THREADS=1 SCORENET sample --network " + snapshot("map") +
                             " --sampler ddim --steps 2 --seeds 0-6";
  ASSERT_EQ(run(sample + " --save-h5 --outdir " + file("plain")).exit_code, 0);
  const Outcome like =
      run(sample + " --like " + file("stacked.h5") + " --out " + file("like_map.h5"));
  ASSERT_EQ(like.exit_code, 0) << like.err;
  const auto plain = read_array(file("plain/samples.h5"), "/samples");  // (7, 3, 8, 8)
  const auto pressure = read_array(file("like_map.h5"), "/pressure");
  const auto velocity = read_array(file("like_map.h5"), "/velocity");
  EXPECT_TRUE(torch::equal(pressure.to(torch::kFloat32), plain.select(1, 0).to(torch::kFloat32)));
  EXPECT_TRUE(torch::equal(velocity, plain.slice(1, 1, 3).permute({0, 2, 3, 1})));
  const auto out = data::Hdf5File::open(file("like_map.h5"));
  EXPECT_EQ(out.array("/pressure").info().type_name, "float32");
  EXPECT_EQ(out.array("/velocity").info().type_name, "float64");
  EXPECT_EQ(out.array("/velocity").info().chunk, (std::vector<int64_t>{5, 8, 8, 2}));
  EXPECT_EQ(out.attribute("/velocity", "units"), "m/s");
}

TEST_F(SampleLike, WhatDoesNotGoTogetherIsRefused) {
  const auto refused = [](const Outcome& outcome, int code, const std::string& word) {
    EXPECT_EQ(outcome.exit_code, code) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(word));
  };
  ASSERT_EQ(sample("there.h5", "--seeds 0").exit_code, 0);
  refused(sample("there.h5", "--seeds 0"), 2, "--force");
  EXPECT_EQ(sample("there.h5", "--seeds 0 --force").exit_code, 0);
  refused(sample("x.h5", "--outdir " + file("y")), 2, "--outdir");
  refused(sample("x.h5", "--save-h5"), 2, "--save-h5");
  refused(run("SCORENET sample --network " + snapshot() + " --out " + file("x.h5")), 2, "--like");
  refused(run("SCORENET sample --network " + snapshot()), 2, "--outdir");
  auto small = data::Hdf5File::create(file("small.h5"));
  small.write_array("/train/images", torch::zeros({3, 1, 4, 4}, torch::kUInt8));
  small.close();
  const std::string like = "SCORENET sample --network " + snapshot() + " --out " + file("x.h5");
  refused(run(like + " --like " + file("small.h5")), 3, "(1, 4, 4)");
  EXPECT_FALSE(fs::exists(file("x.h5.parts")));
}

}  // namespace
}  // namespace scorenet::test
