// Every training objective through the program: the same at any rank count, resumed bit for bit,
// and used by what reads its snapshot. Points of gaussians25 and a small perceptron: a step
// takes a millisecond.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/core/pixels.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/diffusion/learned_schedule.hpp"
#include "framework/diffusion/loss.hpp"
#include "framework/score/snapshot.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

using testing::HasSubstr;

class Points {
 public:
  Points() {
    std::ofstream(folder_ / "points.toml")
        << "[data]\npath = \"" << data() << "\"\n"
        << "[model]\ntype = \"mlp\"\nhidden = [32, 32]\n"
        << "[diffusion]\nschedule = \"vdm_linear\"\ngamma_min = -8\nprediction = \"v\"\n"
        << "[train]\nbatch_size = 36\nsteps = 20\nwarmup_steps = 2\nlearning_rate = 2e-3\n"
        << "[ema]\ndecays = [0.9]\n[checkpoint]\nevery = 10\nkeep = 100\n[eval]\nevery = 0\n"
        << "[run]\ntick = 1\nthreads = 1\n";
  }
  /// Made once for all.
  static const std::string& data() {
    static const Folder folder;
    static const std::string path = [] {
      const std::string out = folder / "points.h5";
      const Outcome made =
          run("SCORENET data synthesize --kind gaussians25 --train 600 --test 500 --out " + out);
      EXPECT_EQ(made.exit_code, 0) << made.err;
      return out;
    }();
    return path;
  }
  std::string operator/(const std::string& name) const { return folder_ / name; }

  Outcome train(int ranks, const std::string& name, const std::string& keys) const {
    return run((ranks == 1 ? std::string("SCORENET") : mpirun(ranks)) + " train " +
               (folder_ / "points.toml") + " --outdir " + (folder_ / name) + " " + keys);
  }
  std::vector<double> losses(const std::string& name) const {
    std::vector<double> all;
    for (const auto& line : lines_of(folder_ / (name + "/stats.jsonl")))
      all.push_back(nlohmann::json::parse(line)["loss"]);
    return all;
  }
  std::string checkpoint(const std::string& name, const std::string& file) const {
    return folder_ / (name + "/checkpoints/0000020/" + file + ".safetensors");
  }
  std::string snapshot(const std::string& name, const std::string& step = "0000020") const {
    return folder_ / (name + "/snapshots/network-" + step + "-ema0.9.safetensors");
  }

 private:
  Folder folder_;
};

TEST(Augmentation, OfARunIsTheSameOnAnyRanksAndInItsSnapshot) {
  const Folder folder;
  const TinyRun tiny = make_tiny_run(folder);
  const auto train = [&](int ranks, const std::string& name, const std::string& augment) {
    const Outcome done =
        run((ranks == 1 ? std::string("SCORENET") : mpirun(ranks)) + " train " + tiny.config +
            " --outdir " + (folder / name) +
            " --train.steps 4 --eval.every 4 --checkpoint.every 4 --comm.canonical "
            "true --comm.virtual_shards 4 --data.augment " +
            augment);
    EXPECT_EQ(done.exit_code, 0) << done.err;
    return checkpoint::read_safetensors(folder /
                                        (name + "/snapshots/network-0000004-ema0.9.safetensors"))
        .tensors;
  };
  const auto one = train(1, "one", "0.5"), two = train(2, "two", "0.5"), off = train(1, "off", "0");
  EXPECT_EQ(one.count("augment_embedding.weight"), 1u);
  EXPECT_EQ(off.count("augment_embedding.weight"), 0u);
  for (const auto& [name, tensor] : one) EXPECT_TRUE(torch::equal(tensor, two.at(name))) << name;
  EXPECT_FALSE(torch::equal(one.at("conv_in.weight"), off.at("conv_in.weight")));
  const std::string snapshot = folder / "one/snapshots/network-0000004-ema0.9.safetensors";
  const Outcome drawn = run("SCORENET sample --network " + snapshot +
                            " --seeds 0-3 --sampler ddim --steps 2 --outdir " + (folder / "s"));
  EXPECT_EQ(drawn.exit_code, 0) << drawn.err;
  const Outcome foreign =
      run("SCORENET convert to-diffusers " + snapshot + " --outdir " + (folder / "foreign"));
  EXPECT_EQ(foreign.exit_code, 6);
  EXPECT_THAT(foreign.err, HasSubstr("told augmentations (data.augment)"));
}

struct Case {
  std::string name;
  std::string keys;
};

class Objectives : public testing::TestWithParam<Case> {
 protected:
  Points points_;
};

TEST_P(Objectives, AreTheSameAtAnyRankCountAndInTwoPartsAndLeaveAUsefulSnapshot) {
  const std::string& keys = GetParam().keys;
  const bool has_history = keys.find("loss_second_moment") != std::string::npos;
  const Outcome one = points_.train(1, "one", keys);
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const Outcome two = points_.train(2, "two", keys);
  ASSERT_EQ(two.exit_code, 0) << two.err;
  const auto a = points_.losses("one"), b = points_.losses("two");
  ASSERT_EQ(a.size(), 20u);
  // As in distributed_test: the order of float32 sums, which Adam enlarges.
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_NEAR(b[i], a[i], 1e-3 * std::abs(a[i]) + 1e-4) << "step " << i;

  // Ten steps, and ten more by another start: all that decides later steps is in the checkpoint. A
  // history is on all ranks.
  const int ranks = has_history ? 2 : 1;
  const std::string whole = has_history ? "two" : "one";
  ASSERT_EQ(points_.train(ranks, "parts", keys + " --train.steps 10").exit_code, 0);
  ASSERT_EQ(points_.train(ranks, "parts", keys).exit_code, 0);
  for (const char* file : {"model", "optimizer", "ema", "objective"})
    EXPECT_EQ(text_of(points_.checkpoint("parts", file)), text_of(points_.checkpoint(whole, file)))
        << file;
  EXPECT_EQ(std::filesystem::exists(points_.checkpoint("parts", "objective")), has_history);

  const std::string network = " --network " + points_.snapshot("one");
  const Outcome evaluated =
      run("SCORENET evaluate" + network + " --data " + points_.data() +
          " --n 20 --metrics elbo,elbo-10 --json " + (points_ / "report.json"));
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.err;
  const auto metrics = nlohmann::json::parse(text_of(points_ / "report.json"))["metrics"];
  for (const char* name : {"elbo", "elbo-10"})
    EXPECT_TRUE(std::isfinite(metrics[name]["nats_mean"].get<double>())) << name;
  const Outcome sampled =
      run("SCORENET sample" + network + " --seeds 0-3 --sampler ancestral --steps 5 --outdir " +
          (points_ / "samples"));
  EXPECT_EQ(sampled.exit_code, 0) << sampled.err;
}

INSTANTIATE_TEST_SUITE_P(
    Of, Objectives,
    testing::Values(
        Case{"learned_ends", "--diffusion.schedule vdm_learned --diffusion.learn_ends true"},
        Case{"uncertainty", "--diffusion.loss uncertainty"},
        Case{"hybrid",
             "--diffusion.loss hybrid --diffusion.train_steps 10 --diffusion.time_sampling "
             "loss_second_moment"},
        Case{"second_moment",
             "--diffusion.time_sampling loss_second_moment --diffusion.time_bins 4"},
        Case{"second_order", "--diffusion.divergence_weight 0.1"},
        Case{"ten_steps", "--diffusion.train_steps 10"}),
    [](const auto& of) { return of.param.name; });

// gamma of a checkpoint's or snapshot's "schedule.*".
diffusion::MonotoneGamma gamma_in(const std::string& path, double gamma_min, double gamma_max) {
  diffusion::MonotoneGamma gamma(gamma_min, gamma_max);
  const auto stored = checkpoint::read_safetensors(path).tensors;
  const torch::NoGradGuard no_grad;
  for (auto& item : gamma.named_parameters())
    item.value().copy_(stored.at("schedule." + item.key()));
  return gamma;
}

// Variance of the one-draw loss over the test points, and its mean with standard error.
struct Moments {
  double mean, error, variance;
};
Moments moments_of(const score::ScoreModel& model, const diffusion::Schedule& schedule,
                   const torch::Tensor& x) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> all;
  for (uint64_t draw = 0; draw < 40; ++draw) {
    const auto slots = slot_range(0, x.size(0));
    const auto u =
        diffusion::stratified_positions({1, RandomStream::training_time, draw}, slots, x.size(0));
    const auto eps =
        normal_for_slots({1, RandomStream::training_noise, draw}, slots, {2}, torch::kFloat32);
    all.push_back(diffusion::loss_per_example(
        score::network_for(model, {}, nullptr), score::parametrisation(model.config.diffusion),
        diffusion::Weighting::elbo, schedule, x, diffusion::uniform_times(schedule, u), eps));
  }
  const auto losses = torch::cat(all);
  return {losses.mean().item<double>(),
          losses.std().item<double>() / std::sqrt(static_cast<double>(losses.numel())),
          losses.var().item<double>()};
}

TEST(LearnedSchedule, ItsEndsStayPutForAWholeRunAndItsInsideLowersTheVarianceAtTheSameBound) {
  const Points points;
  const Outcome trained =
      points.train(1, "run",
                   "--diffusion.schedule vdm_learned --train.steps 600 --checkpoint.every 100 "
                   "--train.batch_size 128 --run.tick 600");
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const auto ends = torch::tensor({0.0, 1.0}, torch::kFloat64);
  for (int step = 100; step <= 600; step += 100) {
    auto gamma = gamma_in(points.snapshot("run", "0000" + std::to_string(step)), -8, 5);
    EXPECT_TRUE(torch::equal(gamma.forward(ends).gamma.detach(),
                             torch::tensor({-8.0, 5.0}, torch::kFloat64)))
        << step;
  }
  // The trained network under its own schedule and under the straight line: the bound is the same
  // integral, so the means agree; the variance of a draw has fallen.
  const auto model = score::load_snapshot(points.snapshot("run", "0000600"), torch::kCPU).model;
  data::ImageDataset test(points.data(), "test");
  const auto x = test.read(slot_range(0, 500)).examples.to(torch::kFloat32);
  diffusion::ScheduleOptions straight = model.config.diffusion.schedule;
  straight.name = "vdm_linear";
  const Moments learned = moments_of(model, *model.schedule, x);
  const Moments linear = moments_of(model, *diffusion::make_schedule(straight), x);
  EXPECT_NEAR(learned.mean, linear.mean, 4 * std::hypot(learned.error, linear.error));
  EXPECT_LT(learned.variance, 0.97 * linear.variance);
  printf("variance of a draw: vdm_linear %.4g, vdm_learned %.4g; mean %.4g, %.4g\n",
         linear.variance, learned.variance, linear.mean, learned.mean);
}

// What a solver of paths takes for roughness: a network trained in bfloat16 is evaluated in float32
// there, and as it was trained in a bound.
TEST(Precision, PathsAreOfTheNetworkInFloat32AndBoundsOfTheNetworkAsTrained) {
  const Points points;
  ASSERT_EQ(points.train(1, "bf16", "--train.precision bf16").exit_code, 0);
  const std::string low = points.snapshot("bf16"), high = points / "fp32.safetensors";
  auto copy = checkpoint::read_safetensors(low);
  for (auto& [key, text] : copy.metadata) {
    const size_t at = text.find("precision = \"bf16\"");
    if (at != std::string::npos) text.replace(at, 18, "precision = \"fp32\"");
  }
  score::write_snapshot(high, copy.tensors, copy.metadata);  // with digests of its own
  const auto nats = [&](const std::string& network, const std::string& metric) {
    const Outcome outcome = run("SCORENET evaluate --network " + network + " --data " +
                                points.data() + " --n 20 --steps 10 --batch 20 --metrics " +
                                metric + " --force --json " + (points / "out.json"));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return nlohmann::json::parse(text_of(points / "out.json"))["metrics"][metric]["nats_mean"]
        .get<double>();
  };
  for (const std::string metric : {"ode", "wkb", "hbar-elbo"})
    EXPECT_EQ(nats(low, metric), nats(high, metric)) << metric;
  EXPECT_NE(nats(low, "elbo"), nats(high, "elbo"));
}

}  // namespace
}  // namespace scorenet::test
