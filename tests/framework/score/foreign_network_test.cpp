// TorchScript networks behind the framework's interface, compiled from source here.
#include "framework/score/foreign_network.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/config/parse.hpp"
#include "framework/core/random.hpp"
#include "framework/diffusion/gaussian_mixture.hpp"
#include "framework/diffusion/likelihood/ode.hpp"
#include "framework/diffusion/likelihood/wkb.hpp"
#include "framework/diffusion/preconditioning.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/score/convention_check.hpp"
#include "framework/score/snapshot.hpp"
#include "framework/score/told_conditions.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/torchscript_file.hpp"

namespace scorenet::score {
namespace {

using test::bytes_of;
using test::script;
using torch::Tensor;

config::Config config_of(const std::string& keys) {
  return config::parse_text("[model]\ntype = \"torchscript\"\nfile = \"net.pt\"\n" + keys, "here");
}

std::shared_ptr<ForeignNetwork> network_of(const torch::jit::Module& module,
                                           const std::string& keys = "convention = \"edm\"\n",
                                           c10::IntArrayRef shape = {2}) {
  return make_foreign_network(config_of(keys), bytes_of(module), shape, torch::kCPU);
}

torch::jit::Module perceptron() { return script(test::kPerceptron, test::perceptron_weights()); }

// x0 is +1 or -1 in both dimensions, with a deviation of 0.4: its exact denoiser, as EDM writes it
// and as a flow's velocity. Without weights, so that it computes in float64.
constexpr const char* kMixture = R"(
def x0_of(self, y, r2):
    v = r2 + 0.16
    share = torch.sigmoid(2.0 * y.sum(1, keepdim=True) / v)
    mean = 2.0 * share - 1.0
    return (0.16 * y + r2 * mean) / v
)";
constexpr const char* kEdmMixture = R"(
def forward(self, x, sigma):
    return self.x0_of(x, (sigma * sigma).reshape([-1, 1]))
)";
constexpr const char* kFlowMixture = R"(
def forward(self, x, time):
    t = (1.0 - time).reshape([-1, 1])
    x0 = self.x0_of(x / (1.0 - t), (t / (1.0 - t)) ** 2)
    return (x0 - x) / t
)";
constexpr const char* kNoiseMixture = R"(
def forward(self, x, label):
    t = (label / 999.0).reshape([-1, 1])
    b = 0.1 * t + 9.95 * t * t
    a = torch.exp(-0.5 * b)
    s2 = -torch.expm1(-b)
    return (x - a * self.x0_of(x / a, s2 / (a * a))) / torch.sqrt(s2)
)";

torch::jit::Module mixture_module(const char* forward) {
  torch::jit::Module module("Mixture");
  module.define(kMixture);
  module.define(forward);
  return module;
}

std::shared_ptr<diffusion::GaussianMixture> mixture() {
  const auto f64 = torch::kFloat64;
  return std::make_shared<diffusion::GaussianMixture>(
      torch::full({2}, 0.5, f64), torch::stack({torch::ones({2}, f64), -torch::ones({2}, f64)}),
      0.16 * torch::eye(2, f64).expand({2, 2, 2}));
}

// The denoiser of the network with x as it comes, float64.
diffusion::Denoiser denoiser_of(const std::shared_ptr<ForeignNetwork>& network,
                                const config::Config& config) {
  const diffusion::Network raw = [network](const Tensor& x, const Tensor& log_snr) {
    return network->forward({x, log_snr, {}, nullptr});
  };
  return diffusion::make_denoiser(raw, parametrisation(config.diffusion));
}

class Conventions : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(Conventions, LikelihoodsAreThoseOfTheMixtureWhoseDenoiserTheNetworkIs) {
  const std::string keys = "convention = \"" + std::string(GetParam().first) + "\"\n";
  const config::Config config = config_of(keys);
  const auto network = network_of(mixture_module(GetParam().second), keys);
  const diffusion::Denoiser ours = denoiser_of(network, config);
  const diffusion::Denoiser exact = diffusion::make_mixture_denoiser(mixture());
  const auto schedule = diffusion::make_schedule(config.diffusion.schedule);
  torch::manual_seed(2);
  const Tensor x = torch::randn({4, 2}, torch::kFloat64);
  const std::vector<int64_t> slots = slot_range(0, 4);
  const diffusion::OdeLikelihoodOptions tight{.exact_trace = true, .rtol = 1e-10, .atol = 1e-10};
  const auto nats = [&](const diffusion::Denoiser& denoiser) {
    return diffusion::ode_likelihood(denoiser, *schedule, x, slots, tight).nats;
  };
  EXPECT_LT((nats(ours) - nats(exact)).abs().max().item<double>(), 1e-7);
  // Second derivatives.
  const auto wkb = [&](const diffusion::Denoiser& denoiser) {
    return diffusion::wkb_exact(denoiser, *schedule, x, {.steps = 60}).nats;
  };
  EXPECT_LT((wkb(ours) - wkb(exact)).abs().max().item<double>(), 1e-7);
}

INSTANTIATE_TEST_SUITE_P(Families, Conventions,
                         testing::Values(std::pair("edm", kEdmMixture),
                                         std::pair("flow", kFlowMixture),
                                         std::pair("score_sde", kNoiseMixture)));

TEST(ForeignNetwork, ItsParametersAreTheModulesUnderTheirNames) {
  torch::jit::Module child = perceptron(), module("Outer");
  module.register_module("inner", child);
  module.define("def forward(self, x, sigma):\n    return self.inner.forward(x, sigma)\n");
  const auto network = network_of(module);
  const auto named = network->named_parameters();
  ASSERT_EQ(named.size(), 3U);
  ASSERT_TRUE(named.contains("inner.w1"));
  // One tensor: what an optimiser writes here, the module computes with.
  const Tensor x = torch::randn({2, 2}), l = torch::zeros({2});
  const Tensor before = network->forward({x, l, {}, nullptr});
  {
    const torch::NoGradGuard no_grad;
    Tensor flat = torch::zeros({32});
    named["inner.w2"].set_data(flat.view({16, 2}));  // as a flat buffer does
    flat.fill_(0.1);
  }
  const Tensor after = network->forward({x, l, {}, nullptr});
  EXPECT_GT((after - before).abs().max().item<double>(), 1e-3);
  after.sum().backward();
  EXPECT_TRUE(named["inner.w1"].grad().defined());
}

// Saved under two names, the weight is one; loading makes two tensors of its memory.
TEST(ForeignNetwork, AWeightOfTwoNamesStaysOne) {
  const Tensor weight = torch::full({1}, 0.25).requires_grad_(true);
  torch::jit::Module module("Tied");
  module.register_parameter("w", weight, false);
  module.register_parameter("u", weight, false);
  module.define(R"(
def forward(self, x, sigma):
    return self.w / (self.u + (sigma * sigma).reshape([-1, 1])) * x
)");
  const auto network = network_of(module);
  EXPECT_EQ(network->named_parameters().size(), 1U);
  // Also behind the archive of a snapshot.
  const auto again = make_foreign_network(config_of("convention = \"edm\"\n"), network->archive(),
                                          {2}, torch::kCPU);
  EXPECT_EQ(again->named_parameters().size(), 1U);
}

TEST(ForeignNetwork, FrozenWeightsStayInTheArchiveAndTrainableOnesDoNot) {
  torch::jit::Module module("Frozen");
  module.register_parameter("w", torch::full({2}, 0.5).requires_grad_(true), false);
  module.register_parameter("frozen", torch::randn({4000}), false);
  module.register_parameter("unused", torch::randn({40000}).requires_grad_(true), false);
  module.define(R"(
def forward(self, x, sigma):
    return (self.w + self.frozen.sum() * 0) * x
)");
  const auto network = network_of(module);
  EXPECT_EQ(network->named_parameters().size(), 2U);
  EXPECT_EQ(network->frozen_parameters(), 4000);
  EXPECT_GT(network->archive().size(), 16000U);
  EXPECT_LT(network->archive().size(), 40000U);
}

TEST(ForeignNetwork, ItsWeightsAreFloat32WhateverTheFileHas) {
  torch::jit::Module module = perceptron();
  module.to(torch::kFloat64);
  const auto network = network_of(module);
  for (const Tensor& weight : network->parameters()) EXPECT_EQ(weight.dtype(), torch::kFloat32);
  EXPECT_EQ(network->forward({torch::zeros({1, 2}), torch::zeros({1}), {}, nullptr}).dtype(),
            torch::kFloat32);
}

TEST(ForeignNetwork, RunsInEvaluationModeAlsoWhileItTrains) {
  const auto network = network_of(script(R"(
def forward(self, x, sigma):
    if self.training:
        self.mean.add_(1.0)
    return self.w * torch.dropout(x, 0.5, self.training) + self.mean
)",
                                         {{"w", torch::full({2}, 0.5)}},
                                         {{"mean", torch::zeros({2})}}, /*has_mode=*/true));
  network->train();
  const Tensor x = torch::randn({3, 2}), l = torch::zeros({3});
  EXPECT_TRUE(
      torch::equal(network->forward({x, l, {}, nullptr}), network->forward({x, l, {}, nullptr})));
  EXPECT_EQ(network->changed_by_training(x, {}), "mean");
  EXPECT_EQ(network_of(perceptron())->changed_by_training(x, {}), "");
  EXPECT_TRUE(
      torch::equal(network->forward({x, l, {}, nullptr}), network->forward({x, l, {}, nullptr})));
}

TEST(ForeignNetwork, IsToldALabelByItsNumberOrByOneHotAndNoneByWhatStandsForIt) {
  const char* const told = R"(
def forward(self, x, sigma, label):
    return x * 0 + label.reshape([x.size(0), -1]).to(x.dtype).sum(1, keepdim=True)
)";
  const auto network = network_of(script(told),
                                  "convention = \"edm\"\nlabel_form = \"index\"\n"
                                  "num_classes = 4\n");
  const Tensor x = torch::ones({2, 2}), l = torch::zeros({2});
  const Tensor labels = torch::tensor({3, 1});
  EXPECT_EQ(network->forward({x, l, labels, nullptr})[0][0].item<float>(), 3);
  EXPECT_EQ(network->forward({x, l, {}, nullptr})[0][0].item<float>(), 4);  // no label
  const auto rows = network_of(script(told), "convention = \"edm\"\nnum_classes = 4\n");
  EXPECT_EQ(rows->forward({x, l, labels, nullptr})[0][0].item<float>(), 1);
  EXPECT_EQ(rows->forward({x, l, torch::tensor({4, 4}), nullptr})[0][0].item<float>(), 0);
}

// Exact traces evaluate many copies of an example.
TEST(ForeignNetwork, WhatIsToldOfOneExampleHoldsForItsCopies) {
  const auto network =
      network_of(script(R"(
def forward(self, x, sigma, label):
    return x * 0 + label.reshape([-1, 1]).to(x.dtype)
)"),
                 "convention = \"edm\"\nlabel_form = \"index\"\nnum_classes = 4\n");
  const Tensor x = torch::ones({6, 2}), l = torch::zeros({6});
  EXPECT_EQ(network->forward({x, l, torch::tensor({3}), nullptr})[5][0].item<float>(), 3);
  EXPECT_ERROR(network->forward({x, l, torch::tensor({3, 1}), nullptr}), ShapeError,
               "of 2 examples, but evaluated at 6 places", "--batch 1");
}

TEST(ForeignNetwork, AnOptionalThirdArgumentMayStayAway) {
  const char* const optional = R"(
def forward(self, x, sigma, label: Optional[Tensor] = None):
    return x
)";
  EXPECT_NO_THROW(network_of(script(optional)));
  EXPECT_NO_THROW(network_of(script(optional), "convention = \"edm\"\nnum_classes = 4\n"));
}

TEST(ForeignNetwork, TheVarianceOfAnAdmIsHandedOnWhereTheLossWantsIt) {
  const auto module = script(R"(
def forward(self, x, step):
    return torch.cat([x, 7.0 + x * 0], 1)
)");
  const Tensor x = torch::ones({2, 2}), l = torch::zeros({2});
  const auto adm = network_of(module, "convention = \"adm\"\n");
  const Tensor both = adm->forward({x, l, {}, nullptr});
  EXPECT_EQ(both.sizes(), (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(both[0][2].item<float>(), 7);
  const auto plain = network_of(module, "convention = \"adm\"\n[diffusion]\nloss = \"elbo\"\n");
  EXPECT_EQ(plain->forward({x, l, {}, nullptr}).sizes(), x.sizes());
}

// The network is x0 = x, so the loss is what its derivative says.
TEST(ForeignNetwork, SaysWhichDerivativesItLacks) {
  auto smooth = network_of(perceptron());
  EXPECT_EQ(no_derivative_because(*smooth, {2}, torch::kCPU, 1), "");
  EXPECT_EQ(no_derivative_because(*smooth, {2}, torch::kCPU, 2), "");
  auto cut = network_of(script("def forward(self, x, sigma):\n    return x.detach()\n"));
  EXPECT_NE(no_derivative_because(*cut, {2}, torch::kCPU, 1), "");
}

// d/dx (x + 3 tanh(2 x)) is 1 at the least and 7 at the most; autograd sees the 1 of the first part
// alone.
TEST(ForeignNetwork, ADerivativeThatLeavesAPartOutIsNoDerivative) {
  auto part =
      network_of(script("def forward(self, x, sigma):\n    return x + 3 * torch.tanh(2 * "
                        "x.detach())\n"));
  EXPECT_THAT(no_derivative_because(*part, {2}, torch::kCPU, 1), testing::HasSubstr("detach"));
  auto whole =
      network_of(script("def forward(self, x, sigma):\n    return x + 3 * torch.tanh(2 * x)\n"));
  EXPECT_EQ(no_derivative_because(*whole, {2}, torch::kCPU, 1), "");
}

TEST(ForeignNetwork, DerivativesOfHighFrequencyOrThroughHalfPrecisionAreTakenAsTheyAre) {
  for (const char* source :
       {"return torch.sin(400.0 * x)", "return (3 * torch.relu(x)).half().float() + x"}) {
    auto network =
        network_of(script("def forward(self, x, sigma):\n    " + std::string(source) + "\n"));
    EXPECT_EQ(no_derivative_because(*network, {2}, torch::kCPU, 1), "") << source;
  }
}

class RefusedNetworks : public testing::Test {
 protected:
  void expect_refusal(const std::string& source, const std::string& said,
                      const std::string& keys = "convention = \"edm\"\n") {
    EXPECT_ERROR(network_of(script(source, {{"w", torch::ones({2})}}), keys), ShapeError, "net.pt",
                 said);
  }
  void expect_config_refusal(const std::string& source, const std::string& said,
                             const std::string& keys = "convention = \"edm\"\n") {
    EXPECT_ERROR(network_of(script(source, {{"w", torch::ones({2})}}), keys), ConfigError, "net.pt",
                 said);
  }
  void expect_no_archive(const std::string& bytes, const std::string& said) {
    EXPECT_ERROR(make_foreign_network(config_of("convention = \"edm\"\n"), bytes, {2}, torch::kCPU),
                 CheckpointError, "net.pt", said);
  }
};

TEST_F(RefusedNetworks, BytesThatAreNoTorchScript) {
  expect_no_archive("", "is empty");
  expect_no_archive("\x80\x02}q.", "is a pickle");
  expect_no_archive("just some text", "no zip archive");
  const std::string whole = bytes_of(perceptron());
  expect_no_archive(whole.substr(0, whole.size() / 2), "cut off");
  std::string renamed = whole;  // the names stand outside of what has a CRC
  for (size_t at = 0; (at = renamed.find("/constants.pkl", at)) != std::string::npos; ++at)
    renamed.replace(at, 14, "/konstants.pkl");
  expect_no_archive(renamed, "torch.save");
  for (size_t at = 0; (at = renamed.find("/data.pkl", at)) != std::string::npos; ++at)
    renamed.replace(at, 9, "/tada.pkl");
  expect_no_archive(renamed, "not one of TorchScript");
}

// A byte anywhere: it is refused, or lies where nothing is stored.
TEST_F(RefusedNetworks, DamagedArchivesAtManyPlaces) {
  const std::string whole = bytes_of(perceptron());
  int refused = 0, places = 0;
  for (size_t at = 5; at < whole.size(); at += 37, ++places) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x5a);
    try {
      make_foreign_network(config_of("convention = \"edm\"\n"), damaged, {2}, torch::kCPU);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, places / 3);
}

// An archive whose parts are whole, and whose version no PyTorch has.
TEST_F(RefusedNetworks, WhatPyTorchItselfCannotRead) {
  std::string renamed = bytes_of(perceptron());
  for (size_t at = 0; (at = renamed.find("/version", at)) != std::string::npos; ++at)
    renamed.replace(at, 8, "/fersion");
  expect_no_archive(renamed, "cannot be read as a TorchScript archive");
}

TEST_F(RefusedNetworks, ModulesWithoutAForwardOfXAndLevel) {
  expect_config_refusal("def other(self, x):\n    return x\n", "no method forward");
  expect_config_refusal("def forward(self, x):\n    return x\n", "takes 1 argument, expected");
  expect_config_refusal("def forward(self, x, a, b, c):\n    return x\n", "takes 4 arguments");
  expect_config_refusal("def forward(self, x, sigma, label):\n    return x\n",
                        "needs a third argument");
  expect_config_refusal("def forward(self, x, sigma):\n    return x\n", "has no third argument",
                        "convention = \"edm\"\nnum_classes = 3\n");
}

TEST_F(RefusedNetworks, ResultsThatAreNoPredictionForX) {
  expect_refusal("def forward(self, x, sigma):\n    return x.sum(1)\n", "returns shape (3)");
  expect_refusal("def forward(self, x, sigma):\n    return (x, x)\n", "returns Tuple");
  expect_refusal("def forward(self, x, sigma):\n    return torch.complex(x, x)\n",
                 "numbers of type ComplexFloat, expected float32");
  expect_refusal("def forward(self, x, sigma):\n    return x.long()\n", "numbers of type Long");
  expect_refusal("def forward(self, x, sigma):\n    return torch.matmul(x, x)\n",
                 "forward fails for x of shape (3, 2)");
  expect_refusal("def forward(self, x, sigma):\n    return x.reshape([3, 2])\n",
                 "a batch of 3 examples but not of 1");
  expect_refusal("def forward(self, x, sigma):\n    return x - x.mean(0)\n",
                 "for an example alone");
  expect_refusal("def forward(self, x, sigma):\n    return torch.rand_like(x)\n",
                 "other values for the same input");
}

TEST_F(RefusedNetworks, NumbersThatAreNotFinite) {
  EXPECT_ERROR(network_of(script("def forward(self, x, sigma):\n    return x * self.w\n",
                                 {{"w", torch::tensor({1.0F, NAN})}})),
               NotFiniteError, "net.pt", "'w'");
  EXPECT_ERROR(network_of(script("def forward(self, x, sigma):\n    return x / 0.0\n")),
               NotFiniteError, "not finite for ordinary noise");
}

class Stored : public testing::Test {
 protected:
  config::Config config(const std::string& keys = "convention = \"edm\"\n") {
    config::Config c = config_of(keys);
    c.model.file = file_;
    return c;
  }
  test::TemporaryFolder folder_;
  std::string file_ = folder_.file("net.pt");
};

TEST_F(Stored, ASnapshotNeedsNoOtherFile) {
  files::write_file_atomically(file_, bytes_of(perceptron()));
  ScoreModel model = build_model(config(), {2}, torch::kCPU);
  optim::FlatParameters flat(named_parameters(model));
  {
    const torch::NoGradGuard no_grad;
    flat.values().mul_(1.5);  // trained
  }
  const std::string path = folder_.file("network.safetensors");
  SnapshotLabel label{7, "raw"};
  label.statistics = statistics_of(model);
  save_snapshot(path, model.config, {2}, flat, flat.values(), label);
  std::filesystem::remove(file_);
  const LoadedSnapshot loaded = load_snapshot(path, torch::kCPU);
  const Tensor x = torch::randn({5, 2}), l = torch::linspace(-3, 3, 5);
  EXPECT_TRUE(torch::equal(loaded.model.trained().network->forward({x, l, {}, nullptr}),
                           model.trained().network->forward({x, l, {}, nullptr})));
  EXPECT_EQ(loaded.model.config.model.convention.file_digest,
            model.config.model.convention.file_digest);
  // What it costs beside the weights.
  EXPECT_LT(model.trained().foreign->archive().size(), 12000U);
}

TEST_F(Stored, ASnapshotWithoutItsArchiveIsDamaged) {
  files::write_file_atomically(file_, bytes_of(perceptron()));
  const ScoreModel model = build_model(config(), {2}, torch::kCPU);
  optim::FlatParameters flat(named_parameters(model));
  const std::string path = folder_.file("network.safetensors");
  save_snapshot(path, model.config, {2}, flat, flat.values(), {7, "raw"});
  EXPECT_ERROR(load_snapshot(path, torch::kCPU), CheckpointError, path, "scorenet.torchscript");
}

TEST_F(Stored, TheFileIsTheOneOfItsDigest) {
  files::write_file_atomically(file_, bytes_of(perceptron()));
  config::Config first = config();
  read_network_file(first);
  EXPECT_EQ(first.model.convention.file_digest.size(), 32U);
  files::write_file_atomically(file_, bytes_of(mixture_module(kEdmMixture)));
  EXPECT_ERROR(read_network_file(first), CheckpointError, file_, "has the digest",
               first.model.convention.file_digest);
  std::filesystem::remove(file_);
  EXPECT_ERROR(build_model(config(), {2}, torch::kCPU), CheckpointError, file_, "no such file");
}

// The exact denoiser of the data, under its own convention and under others.
class Check : public Stored {
 protected:
  ConventionVerdict judge(const char* forward, const std::string& keys, bool with_data = true) {
    files::write_file_atomically(file_, bytes_of(mixture_module(forward)));
    const ScoreModel model = build_model(config(keys), {2}, torch::kCPU);
    const Tensor x0 = mixture()->sample({5, RandomStream::synthetic_data, 0}, slot_range(0, 512));
    return judge_convention(model, with_data ? x0 : Tensor(), {});
  }
  using Kind = ConventionVerdict::Kind;
};

TEST_F(Check, TheRightConventionFits) {
  EXPECT_EQ(judge(kEdmMixture, "convention = \"edm\"\n").kind, Kind::fits);
  EXPECT_EQ(judge(kFlowMixture, "convention = \"flow\"\n").kind, Kind::fits);
  EXPECT_EQ(judge(kNoiseMixture, "convention = \"score_sde\"\n").kind, Kind::fits);
}

TEST_F(Check, AWrongOneIsToldWithFiguresAndTheOneThatFits) {
  const auto verdict = judge(kEdmMixture, "convention = \"flow\"\n");
  EXPECT_EQ(verdict.kind, Kind::wrong);
  EXPECT_THAT(verdict.sentence, testing::HasSubstr("at log-SNR"));
  EXPECT_THAT(verdict.sentence, testing::HasSubstr("model.convention = edm"));
  EXPECT_THAT(judge(kFlowMixture, "convention = \"edm\"\n").sentence,
              testing::HasSubstr("model.convention = flow, which fits"));
}

TEST_F(Check, IsRefusedUnlessTheUserGoesOn) {
  files::write_file_atomically(file_, bytes_of(mixture_module(kEdmMixture)));
  const Tensor x0 = mixture()->sample({5, RandomStream::synthetic_data, 0}, slot_range(0, 512));
  const auto heed = [&](const std::string& keys) {
    return heed_convention(build_model(config("convention = \"flow\"\n" + keys), {2}, torch::kCPU),
                           x0, {});
  };
  EXPECT_ERROR(heed(""), ConfigError, file_, "convention_check = warn");
  EXPECT_NE(heed("convention_check = \"warn\"\n"), "");
  EXPECT_EQ(heed("convention_check = \"off\"\n"), "");
}

TEST_F(Check, RandomWeightsAreDoubtedAndNotRefused) {
  files::write_file_atomically(file_, bytes_of(perceptron()));
  const Tensor x0 = mixture()->sample({5, RandomStream::synthetic_data, 0}, slot_range(0, 512));
  const auto verdict = judge_convention(
      build_model(config("convention = \"ddpm\"\n"), {2}, torch::kCPU), 3 * x0, {});
  EXPECT_EQ(verdict.kind, Kind::doubtful) << verdict.sentence;
}

}  // namespace
}  // namespace scorenet::score
