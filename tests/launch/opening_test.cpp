// Of many ranks one looks at the files; the others ask the file system for nothing before they
// read samples.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/launch/gaussian_model.hpp"

namespace scorenet::test {
namespace {

using testing::HasSubstr;

struct Calls {
  long looks = -1, opens = -1, reads = -1;
};

class Opening : public testing::Test {
 protected:
  // On two ranks, whose calls about files are counted.
  Outcome run_counted(const std::string& arguments, const std::string& files) const {
    return run("OMP_NUM_THREADS=1 " +
               mpirun(2, "-x LD_PRELOAD=" COUNT_CALLS " -x COUNT_CALLS_OF=" + files +
                             " -x COUNT_CALLS_TO=" + (folder_ / "calls") + " SCORENET") +
               " " + arguments);
  }
  Calls calls_of(int rank) const {
    Calls calls;
    std::ifstream(folder_ / ("calls." + std::to_string(rank))) >> calls.looks >> calls.opens >>
        calls.reads;
    return calls;
  }

  // Three files of two-dimensional points with labels, in chunks, and a law for them.
  void write_points_and_law() const {
    for (int i = 0; i < 3; ++i) {
      auto file = data::Hdf5File::create(folder_ / ("points" + std::to_string(i) + ".h5"));
      file.write_array("/test/images", torch::full({4, 2}, 0.1 * (i + 1), torch::kFloat64), {2, 1});
      file.write_array("/test/labels", torch::arange(4));
      file.close();
    }
    write_gaussian(folder_ / "law.h5", {{0, 1}, {0, 1}});
    write_config(folder_ / "model.toml", folder_ / "law.h5", "vdm_linear");
  }
  std::string evaluate(const std::string& options) const {
    return "evaluate --config " + (folder_ / "model.toml") + " --data '" +
           (folder_ / "points?.h5") + "' --metrics elbo " + options;
  }

  Folder folder_;
};

TEST_F(Opening, ASecondRankAsksForNoFileWhoseSamplesItDoesNotRead) {
  write_points_and_law();
  const Outcome one = run_counted(evaluate("--n 1"), "/points");
  ASSERT_EQ(one.exit_code, 0) << one.err;
  EXPECT_GT(calls_of(0).opens, 2);
  EXPECT_EQ(calls_of(1).looks, 0);
  EXPECT_EQ(calls_of(1).opens, 0);
  EXPECT_EQ(calls_of(1).reads, 0);
  // Of twelve it has the last six, which lie in two of the files.
  const Outcome all = run_counted(evaluate("--n 12 --batch 6"), "/points");
  ASSERT_EQ(all.exit_code, 0) << all.err;
  EXPECT_EQ(calls_of(1).opens, 2);
  EXPECT_LT(calls_of(1).reads, calls_of(0).reads);
}

TEST_F(Opening, ASecondRankMapsContiguousArraysAndReadsNoHeader) {
  const TinyRun tiny = make_tiny_run(folder_);
  const Outcome trained = run_counted("train " + tiny.config + " --outdir " + (folder_ / "run") +
                                          " --eval.every 2 --eval.n 4 --train.steps 2",
                                      "/tiny.h5");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  // One of them is the training split's, the other the held-out one's, which rank zero evaluates.
  EXPECT_EQ(calls_of(1).opens, 1);
  EXPECT_EQ(calls_of(1).reads, 0);
  EXPECT_GT(calls_of(0).reads, 0);
}

TEST_F(Opening, ASecondRankOpensNoConditionEither) {
  for (int i = 0; i < 3; ++i) {
    auto file = data::Hdf5File::create(folder_ / ("points" + std::to_string(i) + ".h5"));
    file.write_array("/test/images", torch::full({4, 2}, 0.1 * (i + 1), torch::kFloat64), {2, 1});
    file.write_array("/test/scale", torch::full({4, 1}, 2.0 + i, torch::kFloat64), {2, 1});
    file.close();
  }
  write_gaussian(folder_ / "law.h5", {{0, 1}, {0, 1}});
  write_config(folder_ / "model.toml", folder_ / "law.h5", "vdm_linear");
  std::ofstream(folder_ / "model.toml", std::ios::app)
      << "\n[data]\ntransforms = [\"divide(scale)\"]\n[condition.scale]\n"
      << "array = \"{split}/scale\"\n";
  const Outcome one = run_counted(evaluate("--n 1"), "/points");
  ASSERT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(calls_of(1).opens, 0);
  EXPECT_EQ(calls_of(1).reads, 0);
  // The last six of twelve lie in two files: samples and conditions open each once.
  const Outcome all = run_counted(evaluate("--n 12 --batch 6"), "/points");
  ASSERT_EQ(all.exit_code, 0) << all.err;
  EXPECT_EQ(calls_of(1).opens, 4);
}

TEST_F(Opening, WhatTheOneRankFindsWrongIsSaidOnce) {
  write_points_and_law();
  std::ofstream(folder_ / "points2.h5") << "no HDF5 file";
  const Outcome outcome = run(mpirun(2) + " " + evaluate(""));
  EXPECT_EQ(outcome.exit_code, 3);
  const std::string sentence = "points2.h5: expected an HDF5 file";
  const size_t first = outcome.err.find(sentence);
  ASSERT_NE(first, std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find(sentence, first + 1), std::string::npos) << outcome.err;
  EXPECT_THAT(outcome.err, testing::Not(HasSubstr("[rank 1")));
}

}  // namespace
}  // namespace scorenet::test
