// Files of older versions: a run goes on, snapshots open and evaluate to the numbers that the
// version which wrote them gave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "framework/checkpoint/safetensors.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;

class OlderRun : public testing::Test {
 protected:
  void SetUp() override { fs::copy(OLDER_FILES, folder_.path(), fs::copy_options::recursive); }

  Outcome in_folder(const std::string& command) const {
    return run("cd " + folder_.path().string() + " && OMP_NUM_THREADS=1 " + command);
  }

  Folder folder_;
};

TEST_F(OlderRun, GoesOnToTheWeightsThatItWouldHaveReached) {
  const auto outcome = in_folder("SCORENET train run/config.toml --outdir run --train.steps 6");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out + outcome.err, testing::HasSubstr("resumed at step 3"));
  const auto ours =
      checkpoint::read_safetensors(folder_ / "run/snapshots/network-0000006-ema0.9.safetensors");
  const auto theirs = checkpoint::read_safetensors(folder_ / "end.safetensors");
  ASSERT_EQ(ours.tensors.size(), theirs.tensors.size());
  for (const auto& [name, tensor] : theirs.tensors) {
    // On the machine that wrote them the bits are the same; another CPU adds in another order.
    EXPECT_TRUE(torch::allclose(ours.tensors.at(name), tensor, 1e-5, 1e-6)) << name;
  }
}

TEST_F(OlderRun, SnapshotEvaluatesToTheSameNumbers) {
  struct Value {
    std::string network;
    double ode, elbo;
  };
  for (const Value& value : {Value{"run/snapshots/network-0000003-ema0.9.safetensors",
                                   2.856451288823772, 3.61103083870415},
                             Value{"end.safetensors", 2.8566, 3.6063}}) {
    // --atol: that version's, whatever --rtol was.
    const auto outcome = in_folder(
        "SCORENET evaluate --network " + value.network +
        " --data points.h5 --metrics ode,elbo --seed 1 --rtol 1e-7 --atol 1e-5 --exact-trace"
        " --json report.json --force");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto metrics = nlohmann::json::parse(text_of(folder_ / "report.json")).at("metrics");
    EXPECT_NEAR(metrics.at("ode").at("nats_mean").get<double>(), value.ode, 1e-4);
    EXPECT_NEAR(metrics.at("elbo").at("nats_mean").get<double>(), value.elbo, 1e-4);
  }
}

}  // namespace
}  // namespace scorenet::test
