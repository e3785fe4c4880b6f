// [condition.NAME] through the program: what a network is told is learned, evaluated and sampled,
// leaves as it came, and is the same on any ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <fstream>

#include "framework/checkpoint/safetensors.hpp"
#include "tests/launch/evaluate_case.hpp"

namespace scorenet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// ---- closed forms

// x = c y with y of a known law: -log p(x | c) = -log p(y) + D log |c|.
TEST(Conditions, DivisionByOneHasItsClosedForm) {
  const std::vector<Normal> laws = {{0.3, 0.6}, {-0.4, 1.3}};
  const auto y = points_of(laws, 5);
  const auto c = torch::tensor({0.5, 2.0, -3.0, 10.0, 1.0}, torch::kFloat64).view({5, 1});
  const Folder folder;
  write_gaussian(folder / "law.h5", laws);
  write_config(folder / "model.toml", folder / "law.h5", "vdm_linear");
  std::ofstream(folder / "model.toml", std::ios::app)
      << "\n[data]\ntransforms = [\"divide(energy)\"]\n"
      << "[condition.energy]\narray = \"{split}/energies\"\n";
  auto file = data::Hdf5File::create(folder / "points.h5");
  file.write_array("/test/images", c * y);
  file.write_array("/test/energies", c);
  file.close();
  const Outcome outcome = run("OMP_NUM_THREADS=1 SCORENET evaluate --config " +
                              (folder / "model.toml") + " --data " + (folder / "points.h5") +
                              " --exact --metrics mcallester --per-example " + (folder / "out.h5"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto nats = over_coordinates(y, laws, [](double v, const Normal& l) {
    const double z = v - l.mean;
    return 0.5 * (z * z / l.variance + std::log(2 * std::numbers::pi * l.variance));
  });
  const auto expected = nats + 2 * c.abs().log().view({5});
  expect_equal(read_array(folder / "out.h5", "/mcallester"), expected, 1e-9, "mcallester");
}

// ---- a law that depends on what is told: x = (c, -c) + 0.3 N(0, 1), c uniform in [-3, 3]

constexpr double kSpread = 0.3;

class ConditionalLaw : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<Folder>();
    torch::manual_seed(5);
    auto file = data::Hdf5File::create(path("points.h5"));
    for (const auto& [split, n] : {std::pair{"train", 4000}, {"validation", 100}, {"test", 200}}) {
      const auto c = 6 * torch::rand({n, 1}, torch::kFloat64) - 3;
      const auto x = torch::cat({c, -c}, 1) + kSpread * torch::randn({n, 2}, torch::kFloat64);
      file.write_array("/" + std::string(split) + "/images", x);
      file.write_array("/" + std::string(split) + "/c", c);
    }
    file.close();
    std::ofstream(path("run.toml"))
        << "[data]\npath = \"" << path("points.h5") << "\"\n"
        << "[condition.place]\narray = \"{split}/c\"\ntransforms = [\"standardise(all)\"]\n"
        << "[model]\ntype = \"mlp\"\nhidden = [64, 64, 64]\n"
        << "[diffusion]\nschedule = \"vdm_linear\"\n"
        << "[train]\nbatch_size = 256\nsteps = 2500\nlearning_rate = 3e-3\nwarmup_steps = 10\n"
        << "lr_schedule = \"cosine\"\nprecision = \"fp32\"\n[ema]\ndecays = [0.99]\n"
        << "[eval]\nevery = 0\n[checkpoint]\nevery = 2500\n";
    trained_ =
        run("OMP_NUM_THREADS=1 SCORENET train " + path("run.toml") + " --outdir " + path("run"));
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string path(const std::string& name) { return *folder_ / name; }
  static std::string network() { return path("run/snapshots/network-0002500-ema0.99.safetensors"); }
  static torch::Tensor sample(const std::string& options) {
    const Outcome outcome = run("OMP_NUM_THREADS=1 SCORENET sample --network " + network() +
                                " --save-h5 --steps 30 --outdir " + path("out") + " " + options);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return read_array(path("out/samples.h5"), "/samples");
  }
  static inline std::unique_ptr<Folder> folder_;
  static inline Outcome trained_;
};

TEST_F(ConditionalLaw, IsLearnedSampledAndEvaluated) {
  ASSERT_EQ(trained_.exit_code, 0) << trained_.err;
  // log p(x | c): near the entropy of the noise, far below that of x alone.
  const Outcome outcome = run("OMP_NUM_THREADS=1 SCORENET evaluate --network " + network() +
                              " --metrics elbo --time-samples 16 --json " + path("e.json"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const double nats =
      nlohmann::json::parse(text_of(path("e.json")))["metrics"]["elbo"]["nats_mean"].get<double>();
  const double entropy = std::log(2 * std::numbers::pi * std::numbers::e * kSpread * kSpread);
  EXPECT_GT(nats, entropy - 0.35);
  EXPECT_LT(nats, entropy + 0.35);  // x alone has log 6 = 1.8 more

  const auto at_two = sample("--seeds 0-299 --condition.place 2");
  EXPECT_NEAR(at_two.select(1, 0).mean().item<double>(), 2, 0.12);
  EXPECT_NEAR(at_two.select(1, 1).mean().item<double>(), -2, 0.12);
  EXPECT_NEAR(at_two.select(1, 0).std().item<double>(), kSpread, 0.1);
  // Untold, c is anything.
  const auto untold = sample("--seeds 0-299");
  EXPECT_GT(untold.select(1, 0).std().item<double>(), 1.2);
  // A row a sample, as many as there are rows.
  const auto rows = sample("--condition " + path("points.h5") + " --save-h5");
  const auto c = read_array(path("points.h5"), "/train/c");
  ASSERT_EQ(rows.size(0), 4000);
  EXPECT_LT((rows - torch::cat({c, -c}, 1)).abs().mean().item<double>(), kSpread);
}

// Examples whose solves end at different times are told their own conditions all the same.
TEST_F(ConditionalLaw, AdaptiveSolversTellEachExampleItsOwn) {
  const auto of = [&](const std::string& options) {
    const Outcome e =
        run("OMP_NUM_THREADS=1 SCORENET evaluate --network " + network() +
            " --metrics ode --n 24 --force --per-example " + path("ode.h5") + options);
    EXPECT_EQ(e.exit_code, 0) << e.err;
    return read_array(path("ode.h5"), "/ode");
  };
  // A float32 network's rounding, by the size of its batch, moves steps; another condition moves
  // the value by nats.
  for (const std::string solver :
       {" --tolerance 1e-4", " --rtol 1e-6", " --rtol 1e-6 --exact-trace"}) {
    const auto together = of(solver + " --batch 24"), alone = of(solver + " --batch 1");
    EXPECT_LT((together - alone).abs().max().item<double>(), 0.05) << solver;
  }
  const auto at_two = sample("--seeds 0-99 --condition.place 2 --sampler ode");
  EXPECT_NEAR(at_two.select(1, 0).mean().item<double>(), 2, 0.15);
}

// An exact trace must not mix up whose condition is whose, where it copies examples or not.
TEST_F(ConditionalLaw, ExactTracesOfABatchAreThoseOfEachExampleAlone) {
  const auto of = [&](const std::string& batch) {
    const Outcome e = run("OMP_NUM_THREADS=1 SCORENET evaluate --network " + network() +
                          " --metrics hbar-elbo --hbar 0,0.5 --exact-trace --steps 10 --paths 1 "
                          "--n 24 --force --json " +
                          path("e.json") + batch);
    EXPECT_EQ(e.exit_code, 0) << e.err;
    const auto report = nlohmann::json::parse(text_of(path("e.json")));
    std::vector<double> means;
    for (const auto& at : report["metrics"]["hbar-elbo"]["per_hbar"])
      means.push_back(at["nats_mean"].get<double>());
    return means;
  };
  const auto together = of(" --batch 24"), alone = of(" --batch 1");
  ASSERT_EQ(together.size(), 2u);
  for (size_t h = 0; h < 2; ++h) EXPECT_NEAR(together[h], alone[h], 1e-3) << h;
}

TEST_F(ConditionalLaw, GuidanceGoesFromUntoldOverToldToBeyond) {
  const std::string told = "--seeds 0-63 --condition.place 1.5";
  const auto by = [&](const std::string& weight) { return sample(told + " --guidance " + weight); };
  EXPECT_TRUE(torch::allclose(by("0"), sample("--seeds 0-63"), 1e-6, 1e-6));
  const auto plain = sample(told);
  EXPECT_TRUE(torch::equal(by("1"), plain));
  EXPECT_LT(by("3").select(1, 0).std().item<double>(), plain.select(1, 0).std().item<double>());
}

TEST_F(ConditionalLaw, WhatCannotBeToldIsOneSentence) {
  const auto refuses = [&](const std::string& options, int exit_code, const auto& says) {
    const Outcome outcome =
        run("SCORENET sample --network " + network() + " --outdir " + path("none") + " " + options);
    EXPECT_EQ(outcome.exit_code, exit_code) << options;
    EXPECT_THAT(outcome.err, says) << options;
  };
  refuses("--condition.plaec 2", 2, AllOf(HasSubstr("--condition.plaec"), HasSubstr("place")));
  refuses("--condition.place 2,3", 2, HasSubstr("expected 1 numbers"));
  refuses("--condition.place x", 2, HasSubstr("'x' is no finite number"));
  refuses("--condition.place", 2, HasSubstr("needs a value"));
  refuses("--conditions.place 2", 2, HasSubstr("--conditions.place"));
  refuses("--condition " + path("absent.h5"), 2, HasSubstr("absent.h5"));
  refuses("--condition " + path("points.h5") + " --seeds 0-4000", 2, HasSubstr("4000 rows"));
  refuses("--condition " + path("points.h5") + " --condition.place 2", 2,
          HasSubstr("has a value already"));
}

// ---- images that are told numbers and a field, and those that are told the ones before them

class ToldImages : public testing::Test {
 protected:
  ToldImages() {
    torch::manual_seed(2);
    auto file = data::Hdf5File::create(folder_ / "images.h5");
    for (const auto& [split, n] : {std::pair{"train", 24}, {"validation", 8}}) {
      const std::string group = "/" + std::string(split);
      file.write_array(group + "/images", torch::randn({n, 1, 8, 8}));
      file.write_array(group + "/energies", torch::rand({n, 2}) + 1);
      file.write_array(group + "/coarse", torch::randn({n, 1, 4, 4}));
    }
    file.set_attribute("/train/energies", "units", "GeV");
    file.close();
    std::ofstream(folder_ / "run.toml")
        << "[data]\npath = \"" << (folder_ / "images.h5") << "\"\nlabels = false\n"
        << "[condition.energy]\narray = \"{split}/energies\"\ntransforms = [\"log(0)\"]\n"
        << "[condition.coarse]\narray = \"{split}/coarse\"\nkind = \"field\"\n"
        << "[model]\ntype = \"unet\"\nchannels = [8]\nlayers_per_block = 1\nattention = [false]\n"
        << "norm_groups = 4\n[train]\nbatch_size = 8\nsteps = 4\nwarmup_steps = 1\n"
        << "precision = \"fp32\"\n[ema]\ndecays = [0.9]\n[run]\nthreads = 1\n"
        << "[eval]\nevery = 4\nn = 4\nsamples = 4\nsampler_steps = 2\n[comm]\ncanonical = true\n"
        << "virtual_shards = 4\n";
  }
  Outcome train(const std::string& outdir, const std::string& more = "", int ranks = 1) const {
    const std::string program = ranks == 1 ? "SCORENET" : mpirun(ranks);
    return run("OMP_NUM_THREADS=1 " + program + " train " + (folder_ / "run.toml") + " --outdir " +
               (folder_ / outdir) + " " + more);
  }
  std::string snapshot(const std::string& outdir, int step = 4) const {
    return folder_ /
           (outdir + "/snapshots/network-000000" + std::to_string(step) + "-ema0.9.safetensors");
  }
  void expect_same_weights(const std::string& a, const std::string& b) const {
    const auto one = checkpoint::read_safetensors(snapshot(a)).tensors;
    const auto two = checkpoint::read_safetensors(snapshot(b)).tensors;
    ASSERT_EQ(one.size(), two.size());
    for (const auto& [name, values] : one) EXPECT_TRUE(torch::equal(values, two.at(name))) << name;
  }
  Folder folder_;
};

TEST_F(ToldImages, TrainToTheSameBitsOnAnyRanksAndThroughAStop) {
  for (const int ranks : {1, 2, 4}) {
    const Outcome outcome = train("on" + std::to_string(ranks), "", ranks);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  expect_same_weights("on1", "on2");
  expect_same_weights("on1", "on4");
  ASSERT_EQ(train("parts", "--train.steps 2").exit_code, 0);
  ASSERT_EQ(train("parts").exit_code, 0);
  expect_same_weights("on1", "parts");
  const auto inside = checkpoint::read_safetensors(snapshot("on1")).tensors;
  EXPECT_EQ(inside.at("condition_embedding.layers.linear_1.weight").size(1), 3);  // told with two
  EXPECT_EQ(inside.at("conv_in.weight").size(1), 2);
}

TEST_F(ToldImages, SamplesLeaveWithWhatTheyWereTold) {
  ASSERT_EQ(train("run").exit_code, 0);
  const auto sample = [&](const std::string& out, int ranks, const std::string& more) {
    const Outcome outcome =
        run("OMP_NUM_THREADS=1 " + (ranks == 1 ? std::string("SCORENET") : mpirun(ranks)) +
            " sample --network " + snapshot("run") + " --steps 2 --batch 3 --like " +
            (folder_ / "images.h5") + " --out " + (folder_ / out) + " --condition " +
            (folder_ / "images.h5") + " " + more);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  };
  sample("one.h5", 1, "");
  sample("three.h5", 3, "");
  const auto array = [&](const std::string& file, const std::string& name) {
    return read_array(folder_ / file, name);
  };
  EXPECT_EQ(array("one.h5", "/train/images").size(0), 24);
  EXPECT_TRUE(torch::equal(array("one.h5", "/train/images"), array("three.h5", "/train/images")));
  EXPECT_TRUE(
      torch::equal(array("one.h5", "/train/energies"), array("images.h5", "/train/energies")));
  EXPECT_EQ(data::Hdf5File::open(folder_ / "one.h5").attribute("/train/energies", "units"), "GeV");
  // One of them given to all.
  sample("fixed.h5", 1, "--condition.energy 1.25,2 --seeds 0-3");
  EXPECT_EQ(array("fixed.h5", "/train/energies")[3][1].item<double>(), 2);
  EXPECT_FALSE(torch::equal(array("fixed.h5", "/train/images"),
                            array("one.h5", "/train/images").narrow(0, 0, 4)));
}

TEST_F(ToldImages, ANetworkThatIsToldConditionsHasNoCounterpartInDiffusers) {
  ASSERT_EQ(train("run", "--train.steps 1 --eval.every 0").exit_code, 0);
  const Outcome outcome = run("SCORENET convert to-diffusers " + snapshot("run", 1) + " --outdir " +
                              (folder_ / "folder"));
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("conditions"));
}

TEST_F(ToldImages, ANetworkThatWasAlwaysToldIsNotSampledUntold) {
  ASSERT_EQ(train("always", "--diffusion.label_drop 0").exit_code, 0);
  const Outcome outcome = run("SCORENET sample --network " + snapshot("always") +
                              " --seeds 0 --steps 2 --outdir " + (folder_ / "out"));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("coarse"), HasSubstr("--condition FILE")));
}

// A classifier that is told the same, and a worse network to move away from.
TEST_F(ToldImages, GuidesAreToldWhatTheSamplesAre) {
  ASSERT_EQ(train("run").exit_code, 0);
  auto labelled = data::Hdf5File::open(folder_ / "images.h5");
  torch::manual_seed(3);
  auto file = data::Hdf5File::create(folder_ / "labelled.h5");
  for (const char* split : {"/train", "/validation"}) {
    for (const char* array : {"/images", "/energies", "/coarse"}) {
      const std::string name = std::string(split) + array;
      file.write_array(name, labelled.array(name).read_all(torch::kFloat32));
    }
    const int64_t n = labelled.array(std::string(split) + "/images").rows();
    file.write_array(std::string(split) + "/labels", torch::arange(n).remainder(2));
  }
  file.close();
  const std::string classes =
      "--data.path " + (folder_ / "labelled.h5") +
      " --data.labels true --model.num_classes 2 --model.type classifier --comm.canonical false";
  const Outcome classifier = train("classifier", classes);
  ASSERT_EQ(classifier.exit_code, 0) << classifier.err;
  const auto sample = [&](const std::string& options) {
    const Outcome outcome =
        run("OMP_NUM_THREADS=1 SCORENET sample --network " + snapshot("run") + " --condition " +
            (folder_ / "images.h5") + " --seeds 0-3 --steps 3 --save-h5 --outdir " +
            (folder_ / "out") + " " + options);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return read_array(folder_ / "out/samples.h5", "/samples");
  };
  const auto plain = sample("");
  const std::string by = "--classifier " + snapshot("classifier") + " --class 1 --guidance ";
  EXPECT_TRUE(torch::allclose(sample(by + "0"), plain, 1e-5, 1e-5));
  EXPECT_FALSE(torch::allclose(sample(by + "50"), plain, 1e-3, 1e-3));
  // Away from itself by any weight is itself.
  EXPECT_TRUE(torch::allclose(sample("--weak-network " + snapshot("run") + " --guidance 3"), plain,
                              1e-4, 1e-4));
}

TEST_F(ToldImages, ADataSetWithOtherConditionsIsNoContinuation) {
  ASSERT_EQ(train("run", "--train.steps 2").exit_code, 0);
  auto file = data::Hdf5File::create(folder_ / "images.h5");
  torch::manual_seed(2);
  for (const auto& [split, n] : {std::pair{"train", 24}, {"validation", 8}}) {
    const std::string group = "/" + std::string(split);
    file.write_array(group + "/images", torch::randn({n, 1, 8, 8}));
    file.write_array(group + "/energies", torch::rand({n, 2}) + 2);
    file.write_array(group + "/coarse", torch::randn({n, 1, 4, 4}));
  }
  file.close();
  const Outcome outcome = train("run");
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("data.changed"));
}

TEST_F(ToldImages, MistakesOfTheConfigAreToldBeforeTraining) {
  const auto refuses = [&](const std::string& options, int exit_code, const auto& says) {
    const Outcome outcome = train("none", options);
    EXPECT_EQ(outcome.exit_code, exit_code) << options;
    EXPECT_THAT(outcome.err, says) << options;
  };
  refuses("--condition.energy.array {split}/absent", 3, HasSubstr("/train/absent"));
  refuses("--condition.energy.kind number", 2, HasSubstr("one of vector, field"));
  refuses("--condition.energy.transforms 'log(-9)'", 3,
          AllOf(HasSubstr("/train/energies"), HasSubstr("condition.energy.transforms[0]")));
  refuses("--condition.energy.step 3", 2, HasSubstr("condition.energy.steps"));
  refuses("--data.transforms 'divide(mass)'", 2, HasSubstr("[condition.mass]"));
  refuses("--condition.past.kind field", 2, HasSubstr("condition.past.array is empty"));
}

// A step leads to the next: x_{t+1} = -x_t nearly; a network that is told x_t learns it.
TEST(EarlierSamples, AreToldInTheNetworksOwnUnits) {
  const Folder folder;
  torch::manual_seed(4);
  auto u = torch::empty({30, 6, 1, 8});
  u.select(1, 0).copy_(torch::randn({30, 1, 8}));
  for (int64_t t = 1; t < 6; ++t)
    u.select(1, t).copy_(-u.select(1, t - 1) + 0.05 * torch::randn({30, 1, 8}));
  auto file = data::Hdf5File::create(folder / "runs.h5");
  file.write_array("/u", 300 + 20 * u);
  file.close();
  std::ofstream(folder / "run.toml")
      << "[data]\npath = \"" << (folder / "runs.h5") << "\"\narrays = [\"u\"]\n"
      << "sample_axes = [0, 1]\nchannel_axis = 2\ntransforms = [\"affine(300, 20)\"]\n"
      << "splits = { train = \"0:150\", validation = \"150:180\" }\n"
      << "[condition.past]\nkind = \"field\"\nsteps = [-1]\n"
      << "[model]\ntype = \"unet\"\nchannels = [16]\nlayers_per_block = 1\nattention = [false]\n"
      << "norm_groups = 4\n[diffusion]\nprediction = \"v\"\nloss = \"simple\"\n"
      << "[train]\nbatch_size = 25\nsteps = 500\nlearning_rate = 3e-3\n"
      << "lr_schedule = \"cosine\"\nwarmup_steps = 10\nprecision = \"fp32\"\n"
      << "[ema]\ndecays = [0.9]\n[eval]\nevery = 0\n[run]\nthreads = 1\n";
  const Outcome trained =
      run("SCORENET train " + (folder / "run.toml") + " --outdir " + (folder / "run"));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_THAT(trained.out + text_of(folder / "run/log.txt"), HasSubstr("125 x (1, 8)"));
  const Outcome sampled =
      run("SCORENET sample --network " +
          (folder / "run/snapshots/network-0000500-ema0.9.safetensors") + " --condition " +
          (folder / "runs.h5") + " --steps 10 --save-h5 --outdir " + (folder / "out"));
  ASSERT_EQ(sampled.exit_code, 0) << sampled.err;
  const auto next = (read_array(folder / "out/samples.h5", "/samples") - 300) / 20;
  ASSERT_EQ(next.size(0), 150);  // 30 trajectories of 6 times, of which the first has no past
  const auto before = u.narrow(1, 0, 5).reshape({150, 1, 8}).to(torch::kFloat64);
  EXPECT_LT((next + before).abs().mean().item<double>(), 0.25);
}

}  // namespace
}  // namespace scorenet::test
