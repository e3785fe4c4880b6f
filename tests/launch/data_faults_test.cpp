// Data that do not fit, are other than before, or go away: the program says so before the work,
// with the code for data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <filesystem>

#include "framework/data/hdf5.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Images of 8x8 with four classes, and a network that trains a step in milliseconds.
class DataFaults : public testing::Test {
 protected:
  static torch::Tensor bytes(int64_t n) {
    return torch::arange(n * 64).mul(37).remainder(251).to(torch::kUInt8).view({n, 1, 8, 8});
  }
  struct Split {
    torch::Tensor images, labels;
  };
  std::string file(const std::string& name, const Split& train, const Split& held_out,
                   const std::string& held_out_name = "validation") const {
    auto out = data::Hdf5File::create(folder_ / name);
    const auto write = [&out](const std::string& split, const Split& values) {
      out.write_array("/" + split + "/images", values.images);
      if (values.labels.defined()) out.write_array("/" + split + "/labels", values.labels);
    };
    write("train", train);
    write(held_out_name, held_out);
    out.close();
    return folder_ / name;
  }
  Outcome train(const std::string& data, const std::string& more,
                const std::string& run_name) const {
    return run("SCORENET train " + tiny_.config + " --outdir " + (folder_ / run_name) +
               " --data.path " + data +
               " --train.batch_size 4 --train.steps 4 --eval.every 4 --checkpoint.every 2 " + more);
  }
  // Refused by the dry run and by the start, before a step.
  void expect_refusal(const std::string& data, const std::string& more, int code,
                      const testing::Matcher<std::string>& says) const {
    for (const char* dry : {" --dry-run", ""}) {
      const Outcome refused = train(data, more + dry, "refused");
      EXPECT_EQ(refused.exit_code, code) << refused.err;
      EXPECT_THAT(refused.err, says);
    }
    EXPECT_FALSE(fs::exists(folder_ / "refused/stats.jsonl"));
  }

  Folder folder_;
  TinyRun tiny_ = make_tiny_run(folder_);
};

TEST_F(DataFaults, AHeldOutSplitThatDoesNotFitIsRefusedBeforeTheFirstStep) {
  const auto x = bytes(16);
  const auto labels = torch::arange(16).remainder(4);
  const std::string classes = "--data.labels true --model.num_classes 4";
  expect_refusal(file("l.h5", {x, labels}, {x, torch::arange(16).remainder(5)}), classes, 3,
                 AllOf(HasSubstr("validation/labels"), HasSubstr("label 4")));
  expect_refusal(file("n.h5", {x, labels}, {x, {}}), classes, 3, HasSubstr("validation/labels"));
  expect_refusal(file("c.h5", {x, {}}, {x.repeat({1, 3, 1, 1}), {}}), "", 3,
                 AllOf(HasSubstr("(3, 8, 8)"), HasSubstr("(1, 8, 8)")));
  expect_refusal(file("s.h5", {x, {}}, {torch::zeros({16, 1, 9, 9}, torch::kUInt8), {}}), "", 3,
                 HasSubstr("(1, 9, 9)"));
  const auto reals = x / 127.5 - 1;
  expect_refusal(file("f.h5", {x, {}}, {reals, {}}), "", 3, HasSubstr("float32"));
  auto bad = reals.clone();
  bad[11][0][2][2] = std::nan("");
  // The samples that the evaluations will read are looked at, no others.
  expect_refusal(file("nan.h5", {reals, {}}, {bad, {}}), "--eval.n 16", 3, HasSubstr("sample 11"));
  expect_refusal(file("unit.h5", {reals, {}}, {x.to(torch::kFloat32), {}}), "", 3,
                 HasSubstr("same units"));
  expect_refusal(file("none.h5", {x, {}}, {x, {}}, "test"), "", 3, HasSubstr("test, train"));
}

TEST_F(DataFaults, ASplitOfAnyNameIsTaken) {
  const auto data = file("val.h5", {bytes(16), {}}, {bytes(16), {}}, "val");
  const Outcome done = train(data, "--eval.split val", "run");
  EXPECT_EQ(done.exit_code, 0) << done.err;
}

TEST_F(DataFaults, EvaluateComparesTheDataWithThoseOfTraining) {
  ASSERT_EQ(train(file("d.h5", {bytes(16), {}}, {bytes(16), {}}), "", "run").exit_code, 0);
  const auto evaluate = [&](const std::string& data, const std::string& metrics) {
    return run("SCORENET evaluate --network " +
               (folder_ / "run/snapshots/network-0000004-ema0.9.safetensors") + " --data " + data +
               " --split validation --n 8 --metrics " + metrics);
  };
  EXPECT_EQ(evaluate(folder_ / "d.h5", "elbo").exit_code, 0);
  const auto reals = file("f.h5", {bytes(16), {}}, {bytes(16).to(torch::kFloat32), {}});
  const auto large =
      file("l.h5", {bytes(16), {}}, {torch::zeros({16, 1, 9, 9}, torch::kUInt8), {}});
  for (const char* metrics :
       {"elbo", "fd --features pixels", "kid --features pixels", "pr --features pixels"}) {
    const Outcome kind = evaluate(reals, metrics), shape = evaluate(large, metrics);
    EXPECT_EQ(kind.exit_code, 3) << metrics << kind.err;
    EXPECT_THAT(kind.err, AllOf(HasSubstr("float32"), HasSubstr("8-bit")));
    EXPECT_EQ(shape.exit_code, 3) << metrics << shape.err;
    EXPECT_THAT(shape.err, AllOf(HasSubstr("(1, 9, 9)"), HasSubstr("(1, 8, 8)")));
  }
}

TEST_F(DataFaults, OtherDataOnResumeAreRefusedUnlessTheUserSaysSo) {
  const auto x = bytes(16);
  const auto data = file("d.h5", {x, {}}, {x, {}});
  ASSERT_EQ(train(data, "", "run").exit_code, 0);
  fs::copy_file(data, folder_ / "moved.h5");
  const Outcome moved = train(folder_ / "moved.h5", "--train.steps 5", "run");
  EXPECT_EQ(moved.exit_code, 0) << moved.err;
  const auto fewer = file("fewer.h5", {bytes(12), {}}, {x, {}});
  const auto inverted = file("inverted.h5", {x.bitwise_not(), {}}, {x, {}});
  for (const char* dry : {" --dry-run", ""}) {
    const Outcome few = train(fewer, std::string("--train.steps 6") + dry, "run");
    EXPECT_EQ(few.exit_code, 3) << few.err;
    EXPECT_THAT(few.err, AllOf(HasSubstr("16 examples"), HasSubstr("12 examples"),
                               HasSubstr("data.changed")));
    const Outcome other = train(inverted, std::string("--train.steps 6") + dry, "run");
    EXPECT_EQ(other.exit_code, 3) << other.err;
    EXPECT_THAT(other.err, AllOf(HasSubstr("other values"), HasSubstr("data.changed")));
  }
  const Outcome meant = train(inverted, "--train.steps 6 --data.changed true", "run");
  EXPECT_EQ(meant.exit_code, 0) << meant.err;
  EXPECT_THAT(text_of(folder_ / "run/log.txt"),
              HasSubstr("data.changed = true: the data set has changed"));
  EXPECT_EQ(train(inverted, "--train.steps 7", "run").exit_code, 0);  // these are the run's now
}

TEST_F(DataFaults, WhichAxisTheChannelsAreIsSaidByAFlag) {
  write_npy(folder_ / "hwc.npy", "2, 5, 6, 3", std::string(2 * 5 * 6 * 3, 'x'));
  const auto convert = [&](const std::string& flags) {
    return run("SCORENET data convert --npy " + (folder_ / "hwc.npy") + " --validation 0 --force " +
               "--out " + (folder_ / "hwc.h5") + flags);
  };
  const Outcome unsaid = convert("");
  EXPECT_EQ(unsaid.exit_code, 3);
  EXPECT_THAT(unsaid.err, AllOf(HasSubstr("--channels-last"), HasSubstr("--channels-first")));
  EXPECT_THAT(convert(" --channels-last").out, HasSubstr("(2, 3, 5, 6)"));
  EXPECT_THAT(convert(" --channels-first").out, HasSubstr("(2, 5, 6, 3)"));
  EXPECT_EQ(convert(" --channels-last --channels-first").exit_code, 2);
}

TEST_F(DataFaults, PackedValuesAndMarksThatNoKeyHeedsAreToldAtTheStart) {
  const std::string data =
      file("packed.h5", {torch::randn({16, 1, 8, 8}), {}}, {torch::randn({16, 1, 8, 8}), {}});
  {
    const data::Hdf5Handle opened(H5Fopen(data.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    const data::Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const data::Hdf5Handle scale(
        H5Acreate_by_name(opened.id(), "/train/images", "scale_factor", H5T_NATIVE_DOUBLE,
                          space.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
        H5Aclose);
    const double half = 0.5;
    H5Awrite(scale.id(), H5T_NATIVE_DOUBLE, &half);
  }
  const std::string warning =
      "warning         /train/images is stored packed, value = 0.5 * stored";
  EXPECT_THAT(train(data, "", "as_stored").out, HasSubstr(warning));
  EXPECT_THAT(train(data, "--data.transforms '[\"affine(0, 2)\"]'", "unpacked").out,
              Not(HasSubstr(warning)));
}

// Samples 5 to 9 are in both.
TEST_F(DataFaults, SplitsThatOverlapAreToldAtTheStart) {
  const std::string data = file("whole.h5", {bytes(24), {}}, {bytes(4), {}}, "test");
  const auto splits = [](const std::string& held_out) {
    return "--data.arrays train/images --data.splits '{ train = \"0:10\", validation = \"" +
           held_out + "\" }'";
  };
  EXPECT_THAT(
      train(data, splits("5:13"), "overlap").out,
      HasSubstr("warning         5 of 8 samples of the split validation are in train, too"));
  EXPECT_THAT(train(data, splits("10:18"), "apart").out, Not(HasSubstr("are in train")));
}

TEST_F(DataFaults, PointsAreNotMirrored) {
  const auto points = torch::arange(32).to(torch::kFloat32).view({16, 2});
  expect_refusal(file("p.h5", {points, {}}, {points, {}}), "--model.type mlp --data.flip true", 2,
                 AllOf(HasSubstr("data.flip"), HasSubstr("width")));
}

TEST_F(DataFaults, APipeInTheDatasPlaceIsNotWaitedFor) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe.h5").c_str(), 0600), 0);
  const Outcome trained = train(folder_ / "pipe.h5", "", "run");
  EXPECT_EQ(trained.exit_code, 3) << trained.err;
  EXPECT_THAT(trained.err, AllOf(HasSubstr("pipe.h5"), HasSubstr("is a pipe")));
  EXPECT_EQ(run("SCORENET data info " + (folder_ / "pipe.h5"), 20).exit_code, 3);
}

TEST_F(DataFaults, AFileThatShrinksUnderARunEndsItWithItsName) {
  for (const int ranks : {1, 2}) {
    const auto data = file("s.h5", {bytes(4000), {}}, {bytes(16), {}});
    const std::string outdir = folder_ / ("run" + std::to_string(ranks));
    Background training((ranks == 1 ? "SCORENET" : mpirun(ranks)) + " train " + tiny_.config +
                        " --outdir " + outdir + " --data.path " + data +
                        " --train.batch_size 4 --train.steps 1000000 --eval.every 0 "
                        "--checkpoint.every 0 --run.tick 1");
    ASSERT_TRUE(wait_for_lines(outdir + "/stats.jsonl", 2, 60));
    fs::resize_file(data, 4096);
    const Outcome ended = training.finish(60);
    EXPECT_EQ(ended.exit_code, 3) << ended.err;
    EXPECT_THAT(ended.err, AllOf(HasSubstr("s.h5"), HasSubstr("shorter")));
  }
}

}  // namespace
}  // namespace scorenet::test
