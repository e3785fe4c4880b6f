// scorenet ema reconstruct: averages of a width that a run did not keep, against those of
// one that did.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>
#include <fstream>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/core/error.hpp"
#include "framework/score/ema_reconstruction.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

using score::PowerAverage;
using testing::AllOf;
using testing::HasSubstr;

// One profile, stored at the wanted time and width, is the answer itself.
TEST(EmaReconstruction, OfAStoredProfileIsThatProfile) {
  const std::vector<PowerAverage> stored = {{0.05, 500}, {0.1, 500}, {0.05, 1000}, {0.1, 1000}};
  const auto x = score::reconstruction_factors(stored, {0.1, 1000});
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(x[i], 0, 1e-9);
  EXPECT_NEAR(x[3], 1, 1e-9);
  EXPECT_NEAR(score::reconstruction_error(stored, {0.1, 1000}, x), 0, 1e-6);
}

// Two averages at one time: the normal equations of two power laws by hand. With sigma_rel such
// that gamma = 1 and 3 on [0, 1], p1 = 2 t, p2 = 4 t^3, and q = 3 t^2 (gamma = 2):
//     <p1, p1> = 4/3, <p1, p2> = 8/5, <p2, p2> = 16/7, <p1, q> = 6/4, <p2, q> = 12/6,
//     x1 = (3/2 16/7 - 8/5 2) / (64/21 - 64/25), x2 = (4/3 2 - 8/5 3/2) / (64/21 - 64/25).
TEST(EmaReconstruction, OfTwoPowerLawsFollowsTheNormalEquations) {
  const auto width = [](double g) { return std::sqrt((g + 1) / ((g + 2) * (g + 2) * (g + 3))); };
  const auto x = score::reconstruction_factors({{width(1), 1}, {width(3), 1}}, {width(2), 1});
  const double determinant = 64.0 / 21 - 64.0 / 25;
  EXPECT_NEAR(x[0], (1.5 * 16 / 7 - 1.6 * 2) / determinant, 1e-9);
  EXPECT_NEAR(x[1], (4.0 / 3 * 2 - 1.6 * 1.5) / determinant, 1e-9);
}

TEST(EmaReconstruction, CannotLookBeyondTheLastSnapshot) {
  EXPECT_THROW(score::reconstruction_factors({{0.1, 1000}}, {0.1, 1001}), ConfigError);
  EXPECT_THROW(score::reconstruction_factors({}, {0.1, 1}), ConfigError);
}

TEST(EmaReconstruction, TakesEachAverageOnce) {
  EXPECT_THROW(score::reconstruction_factors({{0.1, 1000}, {0.05, 1000}, {0.1, 1000}}, {0.07, 500}),
               ConfigError);
}

class EmaVerb : public testing::Test {
 protected:
  // One run keeps widths 0.05, 0.1 and, to compare with, 0.07, every 50 of 300 steps.
  static void SetUpTestSuite() {
    folder_ = new Folder;
    ASSERT_EQ(
        run("SCORENET data synthesize --kind swiss-roll --train 256 --validation 16 --test 16 "
            "--out " +
            file("points.h5"))
            .exit_code,
        0);
    std::ofstream(file("run.toml"))
        << "[data]\npath = \"" << file("points.h5")
        << "\"\n[model]\ntype = \"mlp\"\nhidden = [16]\n"
        << "[diffusion]\nschedule = \"vp_linear\"\n[train]\nbatch_size = 64\nsteps = 300\n"
        << "learning_rate = 1e-2\nwarmup_steps = 5\n[ema]\ndecays = []\npowers = [0.05, 0.1, "
           "0.07]\n"
        << "half_lives_kimg = [0.5]\n[checkpoint]\nevery = 50\n[eval]\nevery = 0\n"
        << "[run]\nthreads = 1\n";
    const Outcome trained = run("SCORENET train " + file("run.toml") + " --outdir " + file("a"));
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
  }
  static void TearDownTestSuite() { delete folder_; }
  static std::string file(const std::string& name) { return *folder_ / name; }
  static std::string snapshot(const std::string& weights) {
    return file("a/snapshots/network-0000300-" + weights + ".safetensors");
  }
  static Outcome reconstruct(const std::string& options) {
    return run("SCORENET ema reconstruct " + options + " --force --out " + file("out.safetensors"));
  }
  static Folder* folder_;
};
Folder* EmaVerb::folder_ = nullptr;

// The distance to the run's own average against how far the nearer stored width lies from it: 0.15.
// The factors are those of continuous time, and this run has 300 steps of 64 images.
TEST_F(EmaVerb, MeetsTheAverageThatTheRunKept) {
  const Outcome made =
      reconstruct(file("a/snapshots/") + "*-emastd0.05.safetensors " + file("a/snapshots/") +
                  "*-emastd0.1.safetensors --sigma-rel 0.07");
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("12 snapshots"));
  const auto kept = checkpoint::read_safetensors(snapshot("emastd0.07"));
  const auto ours = checkpoint::read_safetensors(file("out.safetensors"));
  const auto near = checkpoint::read_safetensors(snapshot("emastd0.05"));
  EXPECT_EQ(ours.metadata.at("scorenet.weights"), "emastd0.07");
  double error = 0, scale = 0;
  for (const auto& [name, tensor] : kept.tensors) {
    error += (ours.tensors.at(name) - tensor).square().sum().item<double>();
    scale += (near.tensors.at(name) - tensor).square().sum().item<double>();
  }
  EXPECT_LT(std::sqrt(error), 0.25 * std::sqrt(scale));
}

TEST_F(EmaVerb, ItsSnapshotEvaluates) {
  ASSERT_EQ(reconstruct(snapshot("emastd0.05") + " " + snapshot("emastd0.1")).exit_code, 0);
  const Outcome evaluated = run("SCORENET evaluate --network " + file("out.safetensors") +
                                " --data " + file("points.h5") + " --metrics elbo");
  EXPECT_EQ(evaluated.exit_code, 0) << evaluated.err;
}

TEST_F(EmaVerb, AnAverageOfAnotherKindIsNamed) {
  const Outcome refused = reconstruct(snapshot("ema0.5kimg"));
  EXPECT_EQ(refused.exit_code, 6);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("ema0.5kimg"), HasSubstr("ema.powers")));
}

}  // namespace
}  // namespace scorenet::test
