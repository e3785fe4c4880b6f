// A noisy classifier through the program: trained, evaluated, and guiding samples towards a class.
#include "framework/score/classifier.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/data/image_dataset.hpp"
#include "framework/score/snapshot.hpp"
#include "models/score_network.hpp"
#include "tests/launch/gaussian_model.hpp"
#include "tests/support/expect_error.hpp"

namespace scorenet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// The 25 centres, in the order of the labels (framework/data/convert.hpp).
torch::Tensor centres() {
  const auto k = torch::arange(25, torch::kInt64);
  const auto grid = torch::stack({k.remainder(5), torch::floor_divide(k, 5)}, 1);
  return 2.0 * (grid.to(torch::kFloat64) - 2) / 2.828;
}

// One classifier of gaussians25, trained once for all tests; and the exact law of its data.
class GuidedByClassifier : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new Folder;
    const Outcome made =
        run("SCORENET data synthesize --kind gaussians25 --train 2500 --validation 500 --out " +
            file("points.h5"));
    ASSERT_EQ(made.exit_code, 0) << made.err;
    std::ofstream(file("classifier.toml"))
        << "[data]\npath = \"" << file("points.h5") << "\"\nlabels = true\n"
        << "[model]\ntype = \"classifier\"\nnum_classes = 25\nhidden = [64, 64]\n"
        << "time_embedding = \"scalar\"\n"
        << "[diffusion]\nschedule = \"vp_linear\"\ntime_sampling = \"log_snr\"\n"
        << "[train]\nprecision = \"fp32\"\nbatch_size = 256\nsteps = 700\nwarmup_steps = "
           "20\nlearning_rate = 5e-3\n"
        << "lr_schedule = \"cosine\"\n[ema]\ndecays = [0.98]\n[checkpoint]\nevery = 700\n"
        << "[eval]\nevery = 700\nn = 500\n[run]\ntick = 100\nthreads = 1\n";
    const Outcome trained =
        run("SCORENET train " + file("classifier.toml") + " --outdir " + file("classifier"));
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
    const double variance = 0.05 * 0.05 / (2.828 * 2.828);
    write_mixture(file("law.h5"), torch::full({25}, 1.0 / 25, torch::kFloat64), centres(),
                  (variance * torch::eye(2, torch::kFloat64)).expand({25, 2, 2}).contiguous());
    write_config(file("law.toml"), file("law.h5"), "vp_linear");
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string file(const std::string& name) { return *folder_ / name; }
  static std::string snapshot() {
    return file("classifier/snapshots/network-0000700-ema0.98.safetensors");
  }
  static std::string guided(const std::string& options, const std::string& config = "law.toml") {
    return "SCORENET sample --config " + file(config) + " --classifier " + snapshot() +
           " --seeds 0-399 --batch 400 --sampler ddim --steps 60 --spacing log-snr --outdir " +
           file("samples") + " " + options;
  }
  // The share of samples nearest to the centre of `label`.
  static double share_of(int64_t label, const std::string& options) {
    const Outcome outcome = run(guided(options));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto samples = read_array(file("samples/samples.h5"), "/samples");
    return torch::cdist(samples, centres())
        .argmin(1)
        .eq(label)
        .to(torch::kFloat64)
        .mean()
        .item<double>();
  }

  static Folder* folder_;
};
Folder* GuidedByClassifier::folder_ = nullptr;

TEST_F(GuidedByClassifier, KnowsTheClassesOfCleanPoints) {
  // Components are 40 standard deviations apart.
  const auto report = nlohmann::json::parse(text_of(file("classifier/eval/eval-0000700.json")));
  EXPECT_GT(report["accuracy_clean"].get<double>(), 0.99);
  EXPECT_LT(report["cross_entropy"].get<double>(), std::log(25.0));
  EXPECT_EQ(report["n"], 500);
}

TEST_F(GuidedByClassifier, GuidanceRaisesTheShareOfTheClass) {
  // Unguided, each class has 1/25 of 400 samples: 16 +- 4. The exact classifier at weight 1 would
  // give the class alone; this small one gives 0.7.
  EXPECT_NEAR(share_of(7, "--class 7 --guidance 0"), 0.04, 4 * 0.0098);
  EXPECT_GT(share_of(7, "--class 7 --guidance 1"), 0.5);
  EXPECT_GT(share_of(20, "--class 20 --guidance 1"), 0.5);
}

TEST_F(GuidedByClassifier, FeaturesAreOfItsPenultimateLayer) {
  const auto model = score::load_snapshot(snapshot(), torch::kCPU).model;
  const auto x = centres();
  const auto features = score::classifier_features(model, x);
  EXPECT_EQ(features.sizes(), (std::vector<int64_t>{25, 64}));
  // The last layer reads them: the logits of the centres name their classes.
  const auto p = model.trained().network->named_parameters();
  const auto logits = torch::addmm(p["mlp.out.bias"], features, p["mlp.out.weight"].t());
  EXPECT_TRUE(torch::equal(logits.argmax(1), torch::arange(25, torch::kInt64)));
  EXPECT_THROW(score::classifier_features(model, torch::zeros({4, 3})), ShapeError);
}

// fd of two draws of one law is small; with every sample moved by half a grid step the classifier
// sees other classes' ground.
TEST_F(GuidedByClassifier, ItsFeaturesTellTheLawFromAnother) {
  write_config(file("moved.toml"), file("law.h5"), "vp_linear", "score_offset = [3.0, 0.0]");
  const auto fd = [](const std::string& config) {
    const Outcome outcome =
        run("SCORENET evaluate --config " + file(config) + " --data " + file("points.h5") +
            " --split validation --n 400 --metrics fd --features " + snapshot() +
            " --sampler ddim --sampler-steps 60 --force --json " + file("fd.json"));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto json = nlohmann::json::parse(text_of(file("fd.json")))["metrics"]["fd"];
    EXPECT_EQ(json["features"], snapshot());
    return json["fd"].get<double>();
  };
  EXPECT_GT(fd("moved.toml"), 4 * fd("law.toml"));
}

TEST_F(GuidedByClassifier, TrainsTheSameOnTwoRanks) {
  const auto losses = [](const std::string& name) {
    std::vector<double> all;
    for (const auto& line : lines_of(file(name + "/stats.jsonl")))
      all.push_back(nlohmann::json::parse(line)["loss"]);
    return all;
  };
  const std::string rest = " train " + file("classifier.toml") +
                           " --train.steps 10 --run.tick 1 --eval.every 10 --eval.ranks all "
                           "--train.warmup_steps 2 --outdir ";
  ASSERT_EQ(run("SCORENET" + rest + file("one")).exit_code, 0);
  const Outcome two = run(mpirun(2) + rest + file("two"));
  ASSERT_EQ(two.exit_code, 0) << two.err;
  const auto a = losses("one"), b = losses("two");
  ASSERT_EQ(a.size(), 10u);
  EXPECT_NEAR(a[0], std::log(25.0), 1e-3);  // the head starts at zero: all classes equally likely
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(b[i], a[i], 1e-3 * a[i]) << i;
}

// A conditional network's bound is that of x given its label: with the labels of other components
// it is far worse.
TEST_F(GuidedByClassifier, AConditionalNetworkIsEvaluatedGivenTheLabels) {
  const Outcome trained = run("SCORENET train " + file("classifier.toml") +
                              " --model.type mlp --diffusion.prediction v --train.steps 300 "
                              "--checkpoint.every 300 --eval.every 0 --outdir " +
                              file("net"));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  data::ImageDataset points(file("points.h5"), "validation");
  const auto batch = points.read(slot_range(0, 500));
  std::vector<double> nats;
  for (const int64_t shift : {0, 12}) {
    const std::string path = file("shifted-" + std::to_string(shift) + ".h5");
    auto shifted = data::Hdf5File::create(path);
    shifted.write_array("/test/images", batch.examples);
    shifted.write_array("/test/labels", (batch.labels + shift).remainder(25));
    shifted.close();
    const Outcome evaluated = run(
        "SCORENET evaluate --network " + file("net/snapshots/network-0000300-ema0.98.safetensors") +
        " --data " + path + " --metrics elbo --force --json " + file("report.json"));
    ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
    nats.push_back(
        nlohmann::json::parse(text_of(file("report.json")))["metrics"]["elbo"]["nats_mean"]);
  }
  EXPECT_GT(nats[1], nats[0] + 1);
}

TEST_F(GuidedByClassifier, WhatDoesNotFitIsNamed) {
  write_gaussian(file("three.h5"), {{0, 1}, {0, 1}, {0, 1}});
  write_config(file("three.toml"), file("three.h5"), "vp_linear");
  write_config(file("flow.toml"), file("law.h5"), "flow");
  const std::string classifier = file("classifier.toml"), out = " --outdir " + file("refused");
  const std::string evaluate = " --data " + file("points.h5") + " --split validation";
  const std::vector<std::tuple<std::string, int, std::vector<std::string>>> cases = {
      {guided("--guidance 1"), 2, {"needs --class", "0 to 24"}},
      {guided("--class 25"), 2, {"--class 25", "25 classes"}},
      {guided("--class 1", "three.toml"), 2, {"(2)", "(3)"}},
      {guided("--class 1", "flow.toml"), 2, {"-13.8", "--guidance-interval"}},
      {"SCORENET sample --network " + snapshot() + out, 2, {"a classifier", "--classifier"}},
      {"SCORENET evaluate --network " + snapshot() + evaluate, 2, {"a classifier"}},
      {"SCORENET train " + classifier + " --model.num_classes 0 --data.labels false" + out,
       2,
       {"model.num_classes = 0", "classifier"}},
      {"SCORENET train " + classifier + " --diffusion.loss simple" + out, 2, {"cross-entropy"}},
      {"SCORENET train " + classifier + " --diffusion.schedule vdm_learned" + out,
       2,
       {"vdm_learned"}},
      {"SCORENET train " + classifier + " --model.num_classes 24" + out, 3, {"24"}},
  };
  for (const auto& [command, code, parts] : cases) {
    const Outcome refused = run(command);
    EXPECT_EQ(refused.exit_code, code) << command << refused.err;
    for (const auto& part : parts) EXPECT_THAT(refused.err, HasSubstr(part)) << command;
  }
  // The interval takes what the classifier does not know out of the question.
  EXPECT_EQ(run(guided("--class 1 --guidance-interval -9 9", "flow.toml")).exit_code, 0);
}

}  // namespace
}  // namespace scorenet::test
