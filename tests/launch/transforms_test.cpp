// data.transforms, data.missing and data.levels through the program: likelihoods in the file's own
// units, runs that keep their statistics, samples that leave as the data came.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <fstream>
#include <limits>

#include "framework/checkpoint/safetensors.hpp"
#include "tests/launch/evaluate_case.hpp"

namespace scorenet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const std::vector<Normal> kLaws = {{0.3, 0.6}, {-0.4, 1.3}};

nlohmann::json json_of(const std::string& path) { return nlohmann::json::parse(text_of(path)); }

void write_split(const std::string& path, const std::string& split, const torch::Tensor& values) {
  auto file = data::Hdf5File::create(path);
  file.write_array("/" + split + "/images", values);
  file.close();
}

// An analytic model of independent coordinates of what the transforms give, and data in the file's
// units.
class Transformed {
 public:
  Transformed(const torch::Tensor& stored, const std::vector<Normal>& laws,
              const std::string& data_keys, const std::string& schedule = "vdm_linear") {
    write_gaussian(folder_ / "law.h5", laws);
    write_config(folder_ / "model.toml", folder_ / "law.h5", schedule);
    std::ofstream(folder_ / "model.toml", std::ios::app) << "\n[data]\n" << data_keys << "\n";
    write_points(folder_ / "points.h5", stored);
  }
  Outcome try_to_evaluate(const std::string& options) const {
    return run("OMP_NUM_THREADS=1 SCORENET evaluate --config " + (folder_ / "model.toml") +
               " --data " + (folder_ / "points.h5") + " --json " + (folder_ / "out.json") +
               " --per-example " + (folder_ / "out.h5") + " --force " + options);
  }
  std::string evaluate(const std::string& options) const {
    const Outcome outcome = try_to_evaluate(options);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.out;
  }
  torch::Tensor values(const std::string& name) const {
    return read_array(folder_ / "out.h5", "/" + name);
  }
  nlohmann::json metric(const std::string& name) const {
    return json_of(folder_ / "out.json")["metrics"][name];
  }
  std::string file(const std::string& name) const { return folder_ / name; }

 private:
  Folder folder_;
};

// The law of x where f(x) is normal, each written down by itself.
struct Closed {
  std::string entries;
  std::function<double(double y)> file_value;  // x of y
  std::function<double(double x, const Normal& l)> nats;
};

double gauss(double z, double variance) {
  return 0.5 * (z * z / variance + std::log(2 * std::numbers::pi * variance));
}

std::vector<Closed> closed_forms() {
  return {
      // x = 280 + 12 y is N(280 + 12 m, 144 s^2).
      {"\"affine(280, 12)\"", [](double y) { return 280 + 12 * y; },
       [](double x, const Normal& l) { return gauss(x - (280 + 12 * l.mean), 144 * l.variance); }},
      // Log-normal, shifted: x + 0.5 = e^y.
      {"\"log(0.5)\"", [](double y) { return std::exp(y) - 0.5; },
       [](double x, const Normal& l) {
         return gauss(std::log(x + 0.5) - l.mean, l.variance) + std::log(x + 0.5);
       }},
      // Logit-normal.
      {"\"logit(0)\"", [](double y) { return 1 / (1 + std::exp(-y)); },
       [](double x, const Normal& l) {
         return gauss(std::log(x / (1 - x)) - l.mean, l.variance) + std::log(x * (1 - x));
       }},
      // Johnson's S_U: x = 3 sinh y.
      {"\"arcsinh(3)\"", [](double y) { return 3 * std::sinh(y); },
       [](double x, const Normal& l) {
         return gauss(std::asinh(x / 3) - l.mean, l.variance) + 0.5 * std::log(x * x + 9);
       }},
      // log10-normal energies, standardised: y = (log(x) - 2) / 0.7, so log x is N(2 + 0.7 m, ...).
      {"\"log(0)\", \"affine(2, 0.7)\"", [](double y) { return std::exp(2 + 0.7 * y); },
       [](double x, const Normal& l) {
         return gauss(std::log(x) - (2 + 0.7 * l.mean), 0.49 * l.variance) + std::log(x);
       }},
      // Counts between 0 and 50: u = 0.01 + 0.98 x / 50 is logit-normal, and x stretched.
      {"\"affine(0, 50)\", \"logit(0.01)\"",
       [](double y) { return 50 * (1 / (1 + std::exp(-y)) - 0.01) / 0.98; },
       [](double x, const Normal& l) {
         const double u = 0.01 + 0.98 * x / 50;
         return gauss(std::log(u / (1 - u)) - l.mean, l.variance) + std::log(u * (1 - u)) -
                std::log(0.98 / 50);
       }}};
}

TEST(Transforms, AGaussianThroughEachTransformHasItsClosedFormInTheFilesUnits) {
  const auto y = points_of(kLaws, 6);
  for (const Closed& c : closed_forms()) {
    auto x = torch::empty_like(y);
    for (int64_t i = 0; i < y.numel(); ++i)
      x.view(-1)[i] = c.file_value(y.view(-1)[i].item<double>());
    const Transformed t(x, kLaws, "transforms = [" + c.entries + "]");
    const std::string text = t.evaluate("--exact --metrics mcallester");
    expect_equal(t.values("mcallester"), over_coordinates(x, kLaws, c.nats), 1e-9, c.entries);
    EXPECT_EQ(t.metric("mcallester")["kind"], "exact");
    const auto network =
        over_coordinates(y, kLaws, [](double v, auto& l) { return gauss(v - l.mean, l.variance); });
    EXPECT_NEAR(t.metric("mcallester")["nats_mean_network"].get<double>(),
                network.mean().item<double>(), 1e-8);
    EXPECT_THAT(text, AllOf(HasSubstr("nats in the file's units"), HasSubstr("network's units")));
  }
}

// What transforms do outside of the program: y and log |dy/dx| of log(1), affine(0.5, 2).
TEST(Transforms, EveryEvaluatorSubtractsTheLogJacobian) {
  const auto y = points_of(kLaws, 4);
  const auto x = (0.5 + 2 * y).exp() - 1;
  const auto log_det = (-(x + 1).log() - std::log(2)).sum(1);
  const std::string options =
      "--metrics elbo,elbo-7,ode,mcallester,immse,wkb,hbar-elbo,hbar-iw --hbar 0.5,1 --steps 20 "
      "--seed 3";
  const Transformed file(x, kLaws, "transforms = [\"log(1)\", \"affine(0.5, 2)\"]");
  const Transformed network(y, kLaws, "");
  file.evaluate(options);
  EXPECT_THAT(network.evaluate(options), Not(HasSubstr("network's units")));
  for (const char* name : {"elbo", "elbo-7", "ode", "mcallester", "immse", "wkb_nll0"})
    expect_equal(file.values(name), network.values(name) - log_det, 1e-11, name);
  for (const char* name : {"hbar-elbo", "hbar-iw"})
    expect_equal(file.values(name), network.values(name) - log_det, 1e-11, name);
  expect_equal(file.values("wkb_nll1"), network.values("wkb_nll1"), 1e-9, "slope");
  for (const auto& [name, metric] : json_of(file.file("out.json"))["metrics"].items()) {
    const auto other = network.metric(name);
    EXPECT_NEAR(metric["nats_mean_network"].get<double>(), other["nats_mean"].get<double>(), 1e-9)
        << name;
    EXPECT_NEAR(metric["terms"]["jacobian"].get<double>(), -log_det.mean().item<double>(), 1e-11);
    EXPECT_FALSE(other["terms"].contains("jacobian"));
    EXPECT_EQ(other["nats_mean_network"], other["nats_mean"]);
    if (!metric.contains("per_hbar")) continue;
    EXPECT_NEAR(metric["per_hbar"][1]["nats_mean_network"].get<double>(),
                other["per_hbar"][1]["nats_mean"].get<double>(), 1e-9);
  }
}

TEST(Transforms, StatisticsOfAnAnalyticConfigAreThoseOfItsTrainingSplit) {
  const auto y = points_of(kLaws, 5);
  const auto x = 100 + 3 * y;
  const Folder folder;
  const auto train = torch::tensor({{90.0, 7.0}, {94.0, 9.0}, {98.0, 11.0}}, torch::kFloat64);
  write_split(folder / "train.h5", "train", train);
  const Transformed t(
      x, kLaws, "path = \"" + (folder / "train.h5") + "\"\ntransforms = [\"standardise(pixel)\"]");
  t.evaluate("--exact --metrics mcallester");
  const auto mean = train.mean(0), std = train.std(0, false);
  const auto standard = (x - mean) / std;
  expect_equal(t.values("mcallester"),
               over_coordinates(standard, kLaws,
                                [](double v, auto& l) { return gauss(v - l.mean, l.variance); }) +
                   std.log().sum(),
               1e-9, "standardised");
  const Transformed none(x, kLaws, "transforms = [\"standardise(all)\"]");
  const Outcome refused = none.try_to_evaluate("--metrics elbo");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("data.path"), HasSubstr("standardise")));
}

TEST(Transforms, AValueOutsideTheDomainIsExitCodeThree) {
  auto x = points_of(kLaws, 4).exp();
  x[2][1] = -0.25;
  const Transformed t(x, kLaws, "transforms = [\"log(0)\"]");
  const Outcome outcome = t.try_to_evaluate("--metrics elbo");
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("points.h5"), HasSubstr("/test/images"),
                                 HasSubstr("sample 2, place (1), holds -0.25"),
                                 HasSubstr("data.transforms[0]"), HasSubstr("values > ")));
}

TEST(Transforms, MissingValuesAreNoDimensionsToAnyEvaluator) {
  // Independent coordinates: what is left is the law of the rest.
  const std::vector<Normal> three = {kLaws[0], {2, 0.1}, kLaws[1]};
  const auto points = points_of(three, 4);
  auto holed = points.exp();
  holed.select(1, 1).fill_(kNaN);
  const Transformed with(holed, three, "transforms = [\"log(0)\"]\nmissing = \"nan\"");
  const auto rest = points.index_select(1, torch::tensor({0, 2}));
  const Transformed without(rest.exp(), kLaws, "transforms = [\"log(0)\"]");
  const std::string drawn = "--metrics elbo,elbo-7,ode,immse,wkb,hbar-elbo,hbar-iw --steps 20";
  with.evaluate(drawn);
  without.evaluate(drawn);
  for (const char* name :
       {"elbo", "elbo-7", "ode", "immse", "wkb_nll0", "wkb_nll1", "hbar-elbo", "hbar-iw"})
    expect_equal(with.values(name), without.values(name), 1e-11, name);
  // In one row alone, marked by a number: the others are whole.
  auto marked = points.exp();
  marked[2][1] = -9;
  const Transformed one(marked, three, "transforms = [\"log(0)\"]\nmissing = -9");
  const Transformed whole(points.exp(), three, "transforms = [\"log(0)\"]");
  one.evaluate("--metrics elbo");
  whole.evaluate("--metrics elbo");
  without.evaluate("--metrics elbo");
  for (const int64_t i : {0, 1, 3})
    EXPECT_NEAR(one.values("elbo")[i].item<double>(), whole.values("elbo")[i].item<double>(),
                1e-11);
  EXPECT_NEAR(one.values("elbo")[2].item<double>(), without.values("elbo")[2].item<double>(),
              1e-11);
  // Unmarked, a NaN is damage.
  const Transformed damaged(holed, three, "");
  const Outcome refused = damaged.try_to_evaluate("--metrics elbo");
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_THAT(refused.err, HasSubstr("data.missing"));
}

// ---- runs

// Energies: log-normal, of two channels of other size.
torch::Tensor energies(int64_t n, double shift = 0) {
  torch::manual_seed(1);
  const auto y = torch::randn({n, 2, 8, 8}, torch::kFloat64) * 0.5;
  y.select(1, 1).add_(3 + shift);
  return y.exp().to(torch::kFloat32);
}

void write_energies(const std::string& path, double shift = 0) {
  auto file = data::Hdf5File::create(path);
  file.write_array("/train/images", energies(60, shift));
  file.write_array("/test/images", energies(8, shift));
  file.close();
}

class EnergyRun : public testing::Test {
 protected:
  EnergyRun() {
    write_energies(folder_ / "energies.h5");
    std::ofstream(folder_ / "run.toml")
        << "[data]\npath = \"" << (folder_ / "energies.h5") << "\"\n"
        << "transforms = [\"log(1e-3)\", \"standardise(channel)\"]\n"
        << "[model]\ntype = \"unet\"\nchannels = [8]\nlayers_per_block = 1\nattention = [false]\n"
        << "norm_groups = 4\n[train]\nbatch_size = 12\nsteps = 2\nwarmup_steps = 1\n"
        << "[ema]\ndecays = [0.9]\n[eval]\nevery = 0\n"
        << "[diffusion]\nprediction = \"x0\"\n";  // which an untrained network says is the mean
  }
  Outcome train(const std::string& outdir, const std::string& more = "", int ranks = 1) const {
    const std::string program = ranks == 1 ? "SCORENET" : mpirun(ranks);
    return run("OMP_NUM_THREADS=1 " + program + " train " + (folder_ / "run.toml") + " --outdir " +
               (folder_ / outdir) + " " + more);
  }
  checkpoint::Safetensors statistics(const std::string& outdir) const {
    return checkpoint::read_safetensors(folder_ / (outdir + "/transforms.safetensors"));
  }
  std::string snapshot(const std::string& outdir, int step = 2) const {
    return folder_ /
           (outdir + "/snapshots/network-000000" + std::to_string(step) + "-ema0.9.safetensors");
  }
  Folder folder_;
};

TEST_F(EnergyRun, TrainsEvaluatesAndSamplesInTheFilesUnits) {
  const Outcome trained = train("run", "--eval.every 2 --eval.split test --eval.n 4");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const auto kept = statistics("run");
  const auto logs = (energies(60).to(torch::kFloat64) + 1e-3).log().transpose(0, 1).flatten(1);
  EXPECT_TRUE(torch::allclose(kept.tensors.at("transform.1.mean"), logs.mean(1), 1e-12, 0));
  EXPECT_TRUE(torch::allclose(kept.tensors.at("transform.1.std"), logs.std(1, false), 1e-12, 0));
  const auto inside = checkpoint::read_safetensors(snapshot("run")).tensors;
  EXPECT_TRUE(torch::equal(inside.at("transform.1.mean"), kept.tensors.at("transform.1.mean")));

  const auto evaluate = [&](const std::string& more) {
    const Outcome outcome =
        run("OMP_NUM_THREADS=1 SCORENET evaluate --network " + snapshot("run") + " --data " +
            (folder_ / "energies.h5") + " --metrics elbo --json " + (folder_ / "e.json") +
            " --per-example " + (folder_ / "e.h5") + " --force " + more);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json_of(folder_ / "e.json");
  };
  const auto json = evaluate("")["metrics"]["elbo"];
  // -log p in the file's units less that in the network's: the sum of log((x + a) std).
  const auto x = energies(8).to(torch::kFloat64) + 1e-3;
  const auto std = kept.tensors.at("transform.1.std").view({2, 1, 1});
  const double expected = (x * std).log().flatten(1).sum(1).mean().item<double>();
  EXPECT_NEAR(json["terms"]["jacobian"].get<double>(), expected, 1e-9);
  EXPECT_NEAR(json["nats_mean"].get<double>() - json["nats_mean_network"].get<double>(), expected,
              1e-6);  // differences of numbers that an untrained network makes large
  EXPECT_TRUE(json["bits_per_dim"].is_null());
  const double in_training =
      json_of(folder_ / "run/eval/eval-0000002.json")["metrics"]["elbo"]["nats_mean"].get<double>();
  EXPECT_NEAR(in_training, evaluate("--n 4")["metrics"]["elbo"]["nats_mean"].get<double>(), 1e-9);

  const Outcome sampled = run("OMP_NUM_THREADS=1 SCORENET sample --network " + snapshot("run") +
                              " --seeds 0-5 --steps 3 --save-h5 --outdir " + (folder_ / "out"));
  ASSERT_EQ(sampled.exit_code, 0) << sampled.err;
  const auto samples = read_array(folder_ / "out/samples.h5", "/samples");
  EXPECT_GE(samples.min().item<double>(), -1e-3);  // all that log(1e-3) can give
  const double ratio =
      samples.select(1, 1).median().item<double>() / samples.select(1, 0).median().item<double>();
  EXPECT_GT(ratio, std::exp(1.5));  // e^3 in the data
  EXPECT_LT(ratio, std::exp(4.5));
  // As the training file has it: float32, in its units.
  const Outcome like = run("OMP_NUM_THREADS=1 SCORENET sample --network " + snapshot("run") +
                           " --seeds 0-5 --steps 3 --like " + (folder_ / "energies.h5") +
                           " --out " + (folder_ / "like.h5"));
  ASSERT_EQ(like.exit_code, 0) << like.err;
  EXPECT_EQ(data::Hdf5File::open(folder_ / "like.h5").array("/train/images").info().type_name,
            "float32");
  EXPECT_TRUE(torch::equal(read_array(folder_ / "like.h5", "/train/images"),
                           samples.to(torch::kFloat32).to(torch::kFloat64)));
}

TEST_F(EnergyRun, StatisticsAreTheSameBitsOnOneTwoAndThreeRanks) {
  for (const int ranks : {1, 2, 3})
    ASSERT_EQ(train("on" + std::to_string(ranks), "", ranks).exit_code, 0);
  const auto one = statistics("on1").tensors;
  for (const char* other : {"on2", "on3"})
    for (const auto& [name, values] : statistics(other).tensors)
      EXPECT_TRUE(torch::equal(values, one.at(name))) << other << " " << name;
}

TEST_F(EnergyRun, AResumedRunKeepsItsStatisticsAlthoughTheDataChanged) {
  ASSERT_EQ(train("run").exit_code, 0);
  const auto before = statistics("run").tensors;
  write_energies(folder_ / "energies.h5", 1);
  const Outcome other = train("run", "--train.steps 3");
  EXPECT_EQ(other.exit_code, 3) << other.err;
  const Outcome resumed = train("run", "--train.steps 3 --data.changed true");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  const auto after = checkpoint::read_safetensors(snapshot("run", 3)).tensors;
  for (const auto& [name, values] : before) {
    EXPECT_TRUE(torch::equal(statistics("run").tensors.at(name), values)) << name;
    EXPECT_TRUE(torch::equal(after.at(name), values)) << name;
  }
  // A fresh run on the new data has others: the test could see it.
  ASSERT_EQ(train("fresh").exit_code, 0);
  EXPECT_FALSE(torch::equal(statistics("fresh").tensors.at("transform.1.mean"),
                            before.at("transform.1.mean")));
  // Lost, they cannot be measured again.
  std::filesystem::remove(folder_ / "run/transforms.safetensors");
  const Outcome lost = train("run", "--train.steps 4 --data.changed true");
  EXPECT_EQ(lost.exit_code, 6);
  EXPECT_THAT(lost.err, HasSubstr("transforms.safetensors"));
}

TEST_F(EnergyRun, OtherTransformsAreAnotherRun) {
  ASSERT_EQ(train("run").exit_code, 0);
  const Outcome other = train("run", "--train.steps 3 --data.transforms 'log(1)'");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("data.transforms"));
}

TEST_F(EnergyRun, WhatStandsWhereAValueIsMissingDoesNotMatter) {
  const auto write = [&](double mark) {
    auto holed = energies(60);
    holed.slice(2, 3, 5).fill_(mark);
    write_split(folder_ / "energies.h5", "train", holed);
  };
  const std::string keys = "--data.transforms 'log(1e-3),standardise(all)' --data.missing ";
  write(kNaN);
  ASSERT_EQ(train("nan", keys + "nan").exit_code, 0);
  write(-5);
  ASSERT_EQ(train("mark", keys + "-5").exit_code, 0);
  const auto weights = [&](const std::string& outdir) {
    return checkpoint::read_safetensors(snapshot(outdir)).tensors;
  };
  const auto nan = weights("nan");
  for (const auto& [name, values] : weights("mark"))
    EXPECT_TRUE(torch::equal(values, nan.at(name))) << name;
  const Outcome unmarked = train("unmarked", "--data.transforms 'log(1e-3)'");
  EXPECT_EQ(unmarked.exit_code, 3);
  EXPECT_THAT(unmarked.err, HasSubstr("sample "));
  const Outcome hybrid = train("hybrid", keys + "-5 --diffusion.loss uncertainty");
  EXPECT_EQ(hybrid.exit_code, 2);
  EXPECT_THAT(hybrid.err, HasSubstr("uncertainty"));
}

TEST_F(EnergyRun, DataOfTwoLevelsHasBitsPerDimension) {
  torch::manual_seed(2);
  const auto bits = torch::rand({60, 1, 8, 8}).lt(0.3).to(torch::kFloat32);
  auto file = data::Hdf5File::create(folder_ / "energies.h5");
  file.write_array("/train/images", bits);
  file.write_array("/test/images", bits.slice(0, 0, 8));
  file.close();
  const Outcome trained = train("bits", "--data.transforms= --data.levels 2");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const std::string evaluate = "OMP_NUM_THREADS=1 SCORENET evaluate --network " + snapshot("bits") +
                               " --data " + (folder_ / "energies.h5") + " --json " +
                               (folder_ / "e.json") + " --force --metrics elbo,ode --n 2";
  const Outcome outcome = run(evaluate);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto json = json_of(folder_ / "e.json")["metrics"];
  EXPECT_NEAR(json["elbo"]["bits_per_dim"].get<double>(),
              json["elbo"]["nats_mean"].get<double>() / (64 * std::log(2)), 1e-12);
  EXPECT_TRUE(json["elbo"]["nats_mean_network"].is_null());
  // Uniform dequantisation of bins of width 1: log q = 0.
  EXPECT_NEAR(json["ode"]["terms"]["dequantisation"].get<double>(), 0, 1e-12);
  // A third level is none, and 256 levels are another model's.
  auto wrong = data::Hdf5File::create(folder_ / "wrong.h5");
  wrong.write_array("/test/images", bits.slice(0, 0, 8) * 2);
  wrong.close();
  const Outcome refused = run("SCORENET evaluate --network " + snapshot("bits") + " --data " +
                              (folder_ / "wrong.h5") + " --metrics elbo");
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("none of the levels 0 to 1"), HasSubstr("sample 0")));
}

}  // namespace
}  // namespace scorenet::test
