// No verb destroys what it reads, writes one file twice, or replaces an older one unasked; a
// network that is not finite gives no numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "framework/checkpoint/digests.hpp"
#include "framework/checkpoint/safetensors.hpp"
#include "tests/launch/gaussian_model.hpp"
#include "tests/launch/trained_once.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class Outputs : public TrainedOnce<Outputs> {
 protected:
  static void SetUpTestSuite() {
    train_once(2, "--eval.every 0 --ema.powers 0.1");
    write_gaussian(file("law.h5"), {{0, 1}});
    write_points(file("points.h5"), torch::zeros({3, 1}, torch::kFloat64));
    write_config(file("law.toml"), file("law.h5"), "vp_linear", "");
  }
  static std::string evaluation() {
    return "evaluate --network " + snapshot() + " --data " + tiny_.data + " --n 2 ";
  }
  static std::string of_law() {
    return "evaluate --config " + file("law.toml") + " --data " + file("points.h5") + " ";
  }

  /// The verb ends with this code and these words, and `kept` is byte for byte what it was.
  static void expect_refused(const std::string& arguments, int exit_code,
                             const std::vector<std::string>& words, const std::string& kept) {
    const std::string before = text_of(kept);
    const Outcome outcome = run("SCORENET " + arguments);
    EXPECT_EQ(outcome.exit_code, exit_code) << arguments << "\n" << outcome.err;
    for (const std::string& word : words) EXPECT_THAT(outcome.err, HasSubstr(word)) << arguments;
    EXPECT_EQ(text_of(kept), before) << arguments;
  }
};

TEST_F(Outputs, AreNeverInputsWhateverTheVerbAndThoughForced) {
  fs::create_symlink(tiny_.data, file("link.h5"));
  fs::create_hard_link(snapshot(), file("hard.safetensors"));
  fs::create_directory(file("net"));
  std::ofstream(file("net/config.json")) << "{}";
  std::ofstream(file("trace.json")) << "[\n]\n";
  fs::create_directories(file("drawn"));
  fs::copy_file(snapshot(), file("drawn/samples.h5"));
  const std::vector<std::pair<std::string, std::string>> cases = {
      {evaluation() + "--json " + tiny_.data, tiny_.data},
      {evaluation() + "--per-example " + tiny_.data, tiny_.data},
      {evaluation() + "--per-example " + file("link.h5"), tiny_.data},
      {evaluation() + "--json " + file("hard.safetensors"), snapshot()},
      {of_law() + "--json " + file("law.toml"), file("law.toml")},
      {of_law() + "--per-example " + file("law.h5"), file("law.h5")},
      {of_law() + "--metrics fd --features " + snapshot() + " --json " + snapshot(), snapshot()},
      {"sample --network " + file("drawn/samples.h5") + " --seeds 0 --steps 2 --save-h5 --outdir " +
           file("drawn"),
       file("drawn/samples.h5")},
      {"convert from-diffusers " + file("net") + " --out " + file("net/config.json"),
       file("net/config.json")},
      {"ema reconstruct " + snapshot() + " --out " + file("hard.safetensors"), snapshot()},
      {"timeline " + file("trace.json") + " --out " + file("trace.json"), file("trace.json")},
      {"plan " + tiny_.config + " --bandwidth 1 --json " + tiny_.data, tiny_.data},
      {"plan " + tiny_.config + " --bandwidth 1 --json " + tiny_.config, tiny_.config},
  };
  for (const auto& [arguments, kept] : cases)
    expect_refused(arguments + " --force", 2, {"would be lost"}, kept);
}

TEST_F(Outputs, OfARunAreNotWhatItReads) {
  fs::create_directories(file("own"));
  fs::copy_file(tiny_.data, file("own/log.txt"));
  expect_refused(
      "train " + tiny_.config + " --data.path " + file("own/log.txt") + " --outdir " + file("own"),
      2, {"own/log.txt", "would be lost"}, file("own/log.txt"));
}

TEST_F(Outputs, OneNameForTwoIsRefused) {
  expect_refused(evaluation() + "--json " + file("one") + " --per-example " + file("./one"), 2,
                 {"--json", "--per-example", "same file"}, tiny_.data);
  EXPECT_FALSE(fs::exists(file("one")));
}

TEST_F(Outputs, ReplaceAnOlderFileOnlyWithForce) {
  std::ofstream(file("older.json")) << "mine";
  expect_refused(evaluation() + "--json " + file("older.json"), 2, {"older.json", "--force"},
                 file("older.json"));
  fs::create_directory(file("older"));
  std::ofstream(file("older/model_index.json")) << "{}";
  expect_refused("convert to-diffusers " + snapshot() + " --outdir " + file("older"), 2,
                 {"model_index.json", "--force"}, snapshot());
  ASSERT_EQ(run("SCORENET " + evaluation() + "--force --json " + file("older.json")).exit_code, 0);
  EXPECT_THAT(text_of(file("older.json")), HasSubstr("\"elbo\""));
}

TEST_F(Outputs, ThatCannotBeWrittenAreToldBeforeTheWork) {
  // A metric that is not there is told only when the evaluation begins.
  expect_refused(evaluation() + "--metrics none --json " + file("no/out.json"), 6,
                 {"there is no folder", "Make it first"}, tiny_.data);
  expect_refused(evaluation() + "--metrics none --json " + file("run"), 6, {"names a folder"},
                 tiny_.data);
  expect_refused(evaluation() + "--metrics none --json ''", 2, {"--json", "empty"}, tiny_.data);
  expect_refused("train " + tiny_.config + " --outdir ''", 2, {"--outdir", "empty"}, tiny_.data);
  expect_refused("sample --network /none --outdir " + tiny_.data, 6,
                 {"is a file, expected a folder"}, tiny_.data);
}

TEST_F(Outputs, AreRefusedOnceOnManyRanks) {
  const Outcome outcome = run(mpirun(2) + " " + evaluation() + "--json " + tiny_.data);
  EXPECT_EQ(outcome.exit_code, 2);
  const size_t first = outcome.err.find("would be lost");
  ASSERT_NE(first, std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find("would be lost", first + 1), std::string::npos) << outcome.err;
}

// One value of one tensor, as a run that diverged or a damaged folder leaves it.
checkpoint::Safetensors with_value(const std::string& path, double value) {
  checkpoint::Safetensors file = checkpoint::read_safetensors(path);
  file.tensors.at("conv_in.bias")[1] = value;
  return file;
}

TEST_F(Outputs, ANetworkThatIsNotFiniteIsRefusedByEveryVerbNamingTheTensor) {
  for (const double value : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const std::string bad = file("bad-" + std::to_string(value) + ".safetensors");
    const auto file_of = with_value(snapshot(), value);
    checkpoint::write_safetensors(bad, file_of.tensors,
                                  checkpoint::with_digests(file_of.tensors, file_of.metadata));
    for (const std::string& arguments :
         {"sample --network " + bad + " --seeds 0 --steps 2 --outdir " + file("bad"),
          "evaluate --network " + bad + " --data " + tiny_.data, "info " + bad,
          "convert to-diffusers " + bad + " --outdir " + file("bad"),
          of_law() + "--metrics fd --features " + bad})
      expect_refused(arguments, 4, {bad, "'conv_in.bias'", "not finite"}, bad);
  }
  EXPECT_FALSE(fs::exists(file("bad")));
}

TEST_F(Outputs, AForeignNetworkThatIsNotFiniteIsNotConverted) {
  const Outcome out =
      run("SCORENET convert to-diffusers " + snapshot() + " --outdir " + file("foreign"));
  ASSERT_EQ(out.exit_code, 0) << out.err;
  const std::string weights = file("foreign/unet/diffusion_pytorch_model.safetensors");
  checkpoint::write_safetensors(weights, with_value(weights, std::nan("")).tensors);
  expect_refused("convert from-diffusers " + file("foreign") + " --out " + file("f.safetensors"), 4,
                 {"'conv_in.bias'", "finite"}, weights);
  EXPECT_FALSE(fs::exists(file("f.safetensors")));
}

TEST_F(Outputs, APowerAverageThatIsNotFiniteIsNotReconstructed) {
  const std::string bad = file("bad-emastd0.1.safetensors");
  const auto file_of =
      with_value(file("run/snapshots/network-0000002-emastd0.1.safetensors"), std::nan(""));
  checkpoint::write_safetensors(bad, file_of.tensors,
                                checkpoint::with_digests(file_of.tensors, file_of.metadata));
  expect_refused("ema reconstruct " + bad + " --sigma-rel 0.1 --out " + file("r.safetensors"), 4,
                 {"'conv_in.bias'", "not finite"}, bad);
}

TEST_F(Outputs, AnErrorOfOneExampleIsNullAndNotZero) {
  const Outcome one = run("SCORENET " + of_law() + "--n 1 --metrics ode --json " + file("n1.json"));
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const auto metric = nlohmann::json::parse(text_of(file("n1.json")))["metrics"]["ode"];
  EXPECT_TRUE(metric["nats_mean"].is_number());
  EXPECT_TRUE(metric["nats_stderr"].is_null());
  EXPECT_THAT(one.out, testing::Not(HasSubstr("+-")));
}

// Points so far out that their density underflows to nothing: every -log p is infinite.
TEST_F(Outputs, AnEvaluationWithoutAFiniteValueEndsWithItsOwnCode) {
  write_points(file("far.h5"), torch::full({3, 1}, 1e200, torch::kFloat64));
  const Outcome none = run("SCORENET evaluate --config " + file("law.toml") + " --data " +
                           file("far.h5") + " --metrics elbo --json " + file("none.json"));
  EXPECT_EQ(none.exit_code, 4) << none.err;
  EXPECT_THAT(none.err, AllOf(HasSubstr("elbo"), HasSubstr("no value is finite")));
  const auto metric = nlohmann::json::parse(text_of(file("none.json")))["metrics"]["elbo"];
  EXPECT_TRUE(metric["nats_mean"].is_null() && metric["nats_stderr"].is_null());
  EXPECT_EQ(metric["failed"], 3);
  // One of them among finite ones is counted.
  write_points(file("mixed.h5"), torch::tensor({{0.5}, {1e200}, {-1.0}}, torch::kFloat64));
  const Outcome some = run("SCORENET evaluate --config " + file("law.toml") + " --data " +
                           file("mixed.h5") + " --metrics elbo --json " + file("some.json"));
  EXPECT_EQ(some.exit_code, 0) << some.err;
  EXPECT_THAT(some.out, HasSubstr("1 failed"));
}

}  // namespace
}  // namespace scorenet::test
