// A TorchScript network by the program: evaluated, sampled, trained, and refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/launch/program.hpp"
#include "tests/support/torchscript_file.hpp"

namespace scorenet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

// EDM's denoiser for images (1, 8, 8), with a label of three classes or none.
constexpr const char* kConvolutions = R"(
def forward(self, x, sigma):
    s = sigma.reshape([-1, 1, 1, 1])
    c = torch.sqrt(s * s + 0.25)
    h = torch.conv2d(x / c, self.w1, self.b1, padding=1) + torch.log(s)
    f = torch.conv2d(h * torch.sigmoid(h), self.w2, None, padding=1)
    return 0.25 / (c * c) * x + 0.5 * s / c * f
)";

constexpr const char* kWithLabel = R"(
def forward(self, x, sigma, label):
    s = sigma.reshape([-1, 1, 1, 1])
    c = torch.sqrt(s * s + 0.25)
    told = torch.matmul(label, self.e).reshape([-1, 4, 1, 1])
    h = torch.conv2d(x / c, self.w1, self.b1, padding=1) + torch.log(s) + told
    f = torch.conv2d(h * torch.sigmoid(h), self.w2, None, padding=1)
    return 0.25 / (c * c) * x + 0.5 * s / c * f
)";

std::map<std::string, torch::Tensor> weights() {
  torch::manual_seed(4);
  return {{"w1", 0.3 * torch::randn({4, 1, 3, 3})},
          {"b1", torch::zeros({4})},
          {"w2", 0.1 * torch::randn({1, 4, 3, 3})}};
}

class Foreign : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<Folder>();
    data_ = make_tiny_run(*folder_).data;
    script(kConvolutions, weights()).save(file("net.pt"));
    auto labelled = weights();
    labelled["e"] = torch::randn({3, 4});
    script(kWithLabel, labelled).save(file("labelled.pt"));
    std::ofstream(file("foreign.toml"))
        << "[data]\npath = \"" << data_ << "\"\n[model]\ntype = \"torchscript\"\nfile = \""
        << file("net.pt") << "\"\nconvention = \"edm\"\n[train]\nbatch_size = 12\nprecision = "
        << "\"fp32\"\nsteps = 6\nwarmup_steps = 0\nlearning_rate = 1e-2\n[ema]\ndecays = "
        << "[0.9]\n[checkpoint]\nevery = 3\n[eval]\nevery = 0\n[run]\ntick = 1\nthreads = 1\n";
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string file(const std::string& name) { return *folder_ / name; }
  static Outcome train(const std::string& out, const std::string& keys = "", int ranks = 1) {
    return run((ranks == 1 ? std::string("SCORENET") : mpirun(ranks)) + " train " +
               file("foreign.toml") + " --outdir " + file(out) + " " + keys);
  }
  static std::string snapshot(const std::string& out, int step = 6) {
    return file(out + "/snapshots/network-000000" + std::to_string(step) + "-ema0.9.safetensors");
  }
  static std::string evaluate(const std::string& rest) {
    return "SCORENET evaluate --data " + data_ + " --n 4 " + rest;
  }
  static void expect_refusal(const std::string& command, int code, const std::string& said) {
    const Outcome done = run(command);
    EXPECT_EQ(done.exit_code, code) << done.err;
    EXPECT_THAT(done.err, HasSubstr(said));
  }

  static inline std::unique_ptr<Folder> folder_;
  static inline std::string data_;
};

TEST_F(Foreign, IsTrainedToTheSameBitsOnOneAndTwoRanksAndAfterAPause) {
  const std::string exact = "--comm.canonical true --comm.virtual_shards 4 ";
  for (const int ranks : {1, 2}) {
    const Outcome done = train("ranks" + std::to_string(ranks), exact, ranks);
    ASSERT_EQ(done.exit_code, 0) << done.err;
  }
  const Outcome half = train("paused", exact + "--train.steps 3");
  ASSERT_EQ(half.exit_code, 0) << half.err;
  const Outcome rest = train("paused", exact);
  ASSERT_EQ(rest.exit_code, 0) << rest.err;
  const auto weights_of = [](const std::string& out) {
    return text_of(file(out + "/checkpoints/0000006/model.safetensors"));
  };
  EXPECT_EQ(weights_of("ranks1"), weights_of("ranks2"));
  EXPECT_EQ(weights_of("ranks1"), weights_of("paused"));
  // Another file under the same name is another network.
  script(kConvolutions, weights()).save(file("other.pt"));
  std::ofstream(file("other.pt"), std::ios::app) << " ";
  expect_refusal("SCORENET train " + file("foreign.toml") + " --outdir " + file("paused") + " " +
                     exact + "--train.steps 9 --model.file " + file("other.pt"),
                 2, "model.file_digest");
}

TEST_F(Foreign, ASnapshotIsEvaluatedSampledAndTrainedFromWithoutTheFile) {
  script(kConvolutions, weights()).save(file("gone.pt"));
  const Outcome done = train("alone", "--model.file " + file("gone.pt"));
  ASSERT_EQ(done.exit_code, 0) << done.err;
  fs::remove(file("gone.pt"));
  const Outcome evaluated =
      run(evaluate("--network " + snapshot("alone") + " --metrics elbo,ode,wkb --steps 20 --json " +
                   file("alone.json")));
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  const auto metrics = nlohmann::json::parse(text_of(file("alone.json")))["metrics"];
  for (const char* name : {"elbo", "ode", "wkb"}) EXPECT_TRUE(metrics.contains(name)) << name;
  const Outcome sampled =
      run("SCORENET sample --network " + snapshot("alone") +
          " --seeds 0-3 --sampler heun --steps 5 --grid 2x2 --outdir " + file("pictures"));
  ASSERT_EQ(sampled.exit_code, 0) << sampled.err;
  EXPECT_TRUE(fs::exists(file("pictures/grid.png")));
  const Outcome tuned = train("tuned", "--train.init " + snapshot("alone"));
  ASSERT_EQ(tuned.exit_code, 0) << tuned.err;
  EXPECT_THAT(tuned.out, AllOf(HasSubstr("3 tensors of"), Not(HasSubstr("left over"))));
  EXPECT_THAT(run("SCORENET info " + snapshot("alone")).out,
              AllOf(HasSubstr("type = \"torchscript\""), HasSubstr("parameters  76")));
  EXPECT_THAT(run("SCORENET info " + file("net.pt")).out,
              AllOf(HasSubstr("forward(x, sigma)"), HasSubstr("76 that can be trained, 0 frozen")));
  expect_refusal("SCORENET convert to-diffusers " + snapshot("alone") + " --outdir " + file("df"),
                 6, "model.type = torchscript");
}

TEST_F(Foreign, ItsRunIsReportedAndItsConfigPrinted) {
  const Outcome done = train("told");
  ASSERT_EQ(done.exit_code, 0) << done.err;
  const Outcome reported = run("SCORENET report " + file("told") + " --out " + file("told.html"));
  ASSERT_EQ(reported.exit_code, 0) << reported.err;
  EXPECT_THAT(text_of(file("told.html")),
              AllOf(HasSubstr("torchscript"), HasSubstr("convention = &quot;edm&quot;"),
                    HasSubstr("file_digest = &quot;")));
  EXPECT_THAT(run("SCORENET info config " + file("told")).out,
              AllOf(HasSubstr("type = \"torchscript\""), HasSubstr("convention = \"edm\""),
                    HasSubstr("file_digest = \"")));
}

TEST_F(Foreign, OptionsAreShortForAConfig) {
  const Outcome by_options =
      run(evaluate("--network " + file("net.pt") + " --convention edm --metrics elbo --json " +
                   file("options.json")));
  ASSERT_EQ(by_options.exit_code, 0) << by_options.err;
  const Outcome by_config = run(evaluate("--config " + file("foreign.toml") +
                                         " --metrics elbo --json " + file("config.json")));
  ASSERT_EQ(by_config.exit_code, 0) << by_config.err;
  const Outcome by_ranks = run(mpirun(2) + evaluate("--network " + file("net.pt") +
                                                    " --convention edm --metrics elbo "
                                                    "--json " +
                                                    file("ranks.json"))
                                               .substr(8));
  ASSERT_EQ(by_ranks.exit_code, 0) << by_ranks.err;
  const auto nats = [](const std::string& name) {
    return nlohmann::json::parse(text_of(file(name)))["metrics"]["elbo"]["nats_mean"].get<double>();
  };
  EXPECT_EQ(nats("options.json"), nats("config.json"));
  EXPECT_EQ(nats("options.json"), nats("ranks.json"));
}

TEST_F(Foreign, LabelsGuideWhereTheNetworkTakesThem) {
  const std::string network = "SCORENET sample --network " + file("labelled.pt") +
                              " --convention edm --model.num_classes 3 --shape 1,8,8 --seeds 0-1 "
                              "--sampler ddim --steps 4 --save-h5 --outdir ";
  const Outcome plain = run(network + file("plain") + " --class 1");
  ASSERT_EQ(plain.exit_code, 0) << plain.err;
  const Outcome guided = run(network + file("guided") + " --class 1 --guidance 2");
  ASSERT_EQ(guided.exit_code, 0) << guided.err;
  EXPECT_NE(text_of(file("plain/samples.h5")), text_of(file("guided/samples.h5")));
}

TEST_F(Foreign, WhatCannotBeUsedIsOneSentenceWithItsCode) {
  const std::string net = evaluate("--network " + file("net.pt"));
  expect_refusal(net, 2, "model.level is not given");
  expect_refusal(net + " --convention adm", 2, "expected (3, 2, 8, 8)");
  expect_refusal(net + " --convention edmm", 2, "edm");
  expect_refusal(net + " --convention edm --model.num_classes 10", 2, "no third argument");
  expect_refusal(
      "SCORENET sample --network " + file("net.pt") + " --convention edm --outdir " + file("none"),
      2, "does not say which shape its examples have");
  expect_refusal(evaluate("--network " + file("labelled.pt") + " --convention edm"), 2,
                 "needs a third argument");
  std::ofstream(file("text.pt")) << "no network";
  expect_refusal(evaluate("--network " + file("text.pt") + " --convention edm"), 6,
                 "is no zip archive");
  expect_refusal(evaluate("--network " + file("absent.pt") + " --convention edm"), 6,
                 "no such file");
  script("def forward(self, x, sigma):\n    return x / (x - x)\n").save(file("nan.pt"));
  expect_refusal(evaluate("--network " + file("nan.pt") + " --convention edm"), 4, "not finite");
  script("def forward(self, x, sigma):\n    return 0.3 * x.detach()\n").save(file("cut.pt"));
  expect_refusal(evaluate("--network " + file("cut.pt") +
                          " --convention edm --model.convention_check off --metrics ode"),
                 2, "needs the network's first derivative");
  script("def forward(self, x, sigma):\n    return self.w.detach() * x\n",
         {{"w", torch::ones({1})}})
      .save(file("no_grad.pt"));
  expect_refusal("SCORENET train " + file("foreign.toml") + " --outdir " + file("no_grad") +
                     " --model.convention_check off --model.file " + file("no_grad.pt"),
                 2, "no gradient in any of its weights");
  const Outcome trained = train("for_options", "--train.steps 3");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  expect_refusal(evaluate("--network " + snapshot("for_options", 3) + " --convention edm"), 2,
                 "belong to a TorchScript network");
  torch::jit::Module frozen("Frozen");
  frozen.register_parameter("w", torch::ones({1}), false);
  frozen.define("def forward(self, x, sigma):\n    return self.w * x\n");
  frozen.save(file("frozen.pt"));
  expect_refusal("SCORENET train " + file("foreign.toml") + " --outdir " + file("frozen") +
                     " --model.file " + file("frozen.pt"),
                 2, "none of its weights (1 frozen numbers) needs a gradient");
}

}  // namespace
}  // namespace scorenet::test
