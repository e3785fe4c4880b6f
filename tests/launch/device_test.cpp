// The program on a device that is not the CPU, against the CPU: tests/support/fakes/fake_device.cpp
// refuses what a GPU would (tensors on two devices, memory touched from the host) and computes with
// the CPU's own kernels, so that results agree to the rounding of float32.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/data/hdf5.hpp"
#include "framework/score/snapshot.hpp"
#include "tests/launch/gaussian_model.hpp"
#include "tests/launch/trained_once.hpp"

namespace scorenet::test {
namespace {

using testing::HasSubstr;

const std::string kAway = AWAY_PROGRAM;

// One tiny network, trained a few steps on the CPU, for all tests.
class Device : public TrainedOnce<Device> {
 protected:
  static void SetUpTestSuite() { train_once(10); }
  static void succeed(const std::string& command) {
    const Outcome outcome = run(command);
    ASSERT_EQ(outcome.exit_code, 0) << command << "\n" << outcome.err;
  }
  static std::vector<torch::Tensor> weights(const std::string& run) {
    return weights_in(snapshot(run));
  }
  static std::vector<torch::Tensor> weights_in(const std::string& path) {
    std::vector<torch::Tensor> all;
    const auto loaded = score::load_snapshot(path, torch::kCPU);
    for (const auto& [name, tensor] : score::named_parameters(loaded.model)) all.push_back(tensor);
    return all;
  }
  // After 10 steps of Adam, whose first steps enlarge the rounding of small gradients to a share of
  // the learning rate.
  static void expect_same_training(const std::string& keys, int ranks = 1) {
    const std::string rest =
        " train " + tiny_.config + " --train.steps 10 --eval.every 10 " + keys + " --outdir ";
    succeed("rm -rf " + file("a") + " " + file("b"));
    const auto start = [&](const std::string& program) {
      return ranks == 1 ? program : mpirun(ranks, program);
    };
    succeed(start("SCORENET") + rest + file("a"));
    succeed(start(kAway) + rest + file("b") + " --comm.gpu_aware_mpi true");
    const auto a = weights("a"), b = weights("b");
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i)
      EXPECT_LT((a[i] - b[i]).abs().max().item<double>(), 1e-4) << keys << ", parameter " << i;
  }
  // The same, by steps that the device does by itself: then the host's clock knows no forward pass.
  // Recorded or launched kernel by kernel, they have the same bits.
  static void expect_devices_own_steps(const std::string& keys, int ranks = 1) {
    expect_same_training(keys + " --run.timeline 4", ranks);
    const auto has_forward = testing::HasSubstr("\"forward\"");
    EXPECT_THAT(text_of(file("a/timeline/rank0.json")), has_forward) << keys;
    EXPECT_THAT(text_of(file("b/timeline/rank0.json")), testing::Not(has_forward)) << keys;
    const auto recorded = weights("b");
    expect_same_training(keys + " --run.graph false", ranks);
    const auto launched = weights("b");
    for (size_t i = 0; i < launched.size(); ++i)
      EXPECT_TRUE(torch::equal(recorded[i], launched[i])) << keys << ", parameter " << i;
  }
  static void expect_same_metric(const std::string& options, int ranks = 1) {
    const std::string rest = " evaluate --network " + snapshot() + " --data " + tiny_.data +
                             " --n 3 --metrics " + options + " --force --json ";
    succeed("SCORENET" + rest + file("a.json"));
    succeed((ranks == 1 ? kAway : mpirun(ranks, kAway)) + rest + file("b.json"));
    const auto read = [](const std::string& path) {
      return nlohmann::json::parse(text_of(path))["metrics"].begin().value();
    };
    const auto a = read(file("a.json")), b = read(file("b.json"));
    for (const auto& key : {"nats_mean", "nfe", "nll1_mean", "fd", "kid", "precision", "w2"}) {
      if (!a.contains(key) || a[key].is_null()) continue;
      EXPECT_NEAR(a[key].get<double>(), b[key].get<double>(),
                  1e-3 * (1 + std::abs(a[key].get<double>())))
          << options << ": " << key;
    }
  }
  static void expect_same_samples(const std::string& options, const std::string& model = "",
                                  int ranks = 1) {
    const std::string rest = " sample --network " + (model.empty() ? snapshot() : model) +
                             " --seeds 0-2 --batch 3 --steps 4 --save-h5 " + options + " --outdir ";
    succeed("rm -rf " + file("x") + " " + file("y"));
    succeed("SCORENET" + rest + file("x"));
    succeed((ranks == 1 ? kAway : mpirun(ranks, kAway)) + rest + file("y"));
    const auto x = read_array(file("x/samples.h5"), "/samples");
    const auto y = read_array(file("y/samples.h5"), "/samples");
    EXPECT_LT((x - y).abs().max().item<double>(), 1e-4 * (1 + x.abs().max().item<double>()))
        << options;
  }
};

TEST_F(Device, TrainsEveryObjective) {
  for (const std::string keys :
       {"--diffusion.loss elbo --train.micro_batch 5", "--diffusion.loss uncertainty",
        "--diffusion.loss edm --diffusion.schedule edm --diffusion.prediction F",
        "--diffusion.schedule vdm_learned --diffusion.learn_ends true",
        "--diffusion.time_sampling loss_second_moment"})
    expect_same_training(keys);
}

TEST_F(Device, TrainsEveryNetworkAndEveryWayOfSumming) {
  for (const std::string keys :
       {"--model.type dit --model.patch_size 4 --model.width 16 --model.depth 1 --model.heads 2",
        "--model.fourier_features true", "--train.shard_optimizer true",
        "--comm.canonical true --comm.virtual_shards 4", "--comm.compression powersgd",
        "--comm.bucket_mb 0 --ema.powers 0.1"})
    expect_same_training(keys);
}

TEST_F(Device, OverTwoRanksItsMemoryGoesToItsCarrierAndTheHostsToMpi) {
  for (const std::string keys :
       {"", "--comm.bucket_mb 0 --comm.overlap off", "--train.shard_optimizer true",
        "--comm.canonical true --comm.virtual_shards 4", "--comm.compression bf16",
        "--comm.compression powersgd"})
    expect_same_training(keys, 2);
  expect_same_training("--eval.ranks all --eval.samples 4", 2);
  expect_same_metric("elbo --batch 1", 2);
  expect_same_metric("fd --features pixels --sampler-steps 3", 2);
  expect_same_samples("--sampler pc --corrector-norms batch", "", 2);
  expect_same_samples("--sampler heun", "", 2);
}

// A recorded step keeps to the device (the fake refuses copies and reads meanwhile) and computes
// what the same step does launched kernel by kernel.
TEST_F(Device, ARecordedStepIsTheSameBitForBit) {
  const std::vector<std::pair<std::string, int>> cases = {
      {"--model.dropout 0.2 --train.micro_batch 5", 1},
      {"--train.weight_decay 0.1 --train.clip_norm 0.01", 1},
      {"--train.shard_optimizer true --train.weight_decay 0.1 --train.clip_norm 0.01", 2}};
  for (const auto& [keys, ranks] : cases) {
    for (const std::string graph : {"true", "false"}) {
      succeed("rm -rf " + file("graph-" + graph));
      succeed((ranks == 1 ? kAway : mpirun(ranks, kAway)) + " train " + tiny_.config +
              " --train.steps 10 --comm.gpu_aware_mpi true " + keys + " --run.graph " + graph +
              " --outdir " + file("graph-" + graph));
    }
    const auto a = weights("graph-true"), b = weights("graph-false");
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(torch::equal(a[i], b[i])) << keys << i;
  }
  expect_same_training("--model.dropout 0.2 --train.micro_batch 5");
}

// Of a training over several ranks: its weights, and what its log says of the recording.
struct RankedRun {
  std::vector<torch::Tensor> weights;
  std::string note;
};

class DeviceOverRanks : public Device {
 protected:
  static RankedRun train(int ranks, const std::string& keys, const std::string& environment = "") {
    succeed("rm -rf " + file("ranked") + " " + file("recordings"));
    succeed("FAKE_RECORDINGS=" + file("recordings") + " " + environment + " " +
            mpirun(ranks, kAway) + " train " + tiny_.config +
            " --train.steps 10 --eval.every 0 --comm.gpu_aware_mpi true --comm.bucket_mb 0.01 " +
            "--comm.first_bucket_mb 0.005 --comm.last_bucket_mb 0.005 " + keys + " --outdir " +
            file("ranked"));
    RankedRun result{weights("ranked"), ""};
    for (const std::string& line : lines_of(file("ranked/log.txt")))
      if (line.find("recorded as") != std::string::npos) result.note = line;
    return result;
  }
  static void expect_same_bits(const RankedRun& a, const RankedRun& b, const std::string& what) {
    ASSERT_EQ(a.weights.size(), b.weights.size());
    for (size_t i = 0; i < a.weights.size(); ++i)
      EXPECT_TRUE(torch::equal(a.weights[i], b.weights[i])) << what << ", parameter " << i;
  }
};

// The sums are part of the graph: what a launch sums is what this launch has computed.
TEST_F(DeviceOverRanks, AStepRecordedWithItsSumsIsTheSameBitForBit) {
  const std::vector<std::pair<int, std::string>> cases = {
      {2, "--train.micro_batch 3 --model.dropout 0.2"},
      {3, "--train.shard_optimizer true --train.clip_norm 0.01"},
      {4, "--train.shard_optimizer true"},
      {4, "--comm.overlap off"}};
  for (const auto& [ranks, keys] : cases) {
    const RankedRun recorded = train(ranks, keys);
    EXPECT_THAT(recorded.note, testing::HasSubstr("step 4: recorded as one graph")) << keys;
    const RankedRun launched = train(ranks, keys + " --run.graph false");
    EXPECT_EQ(launched.note, "");
    expect_same_bits(recorded, launched, keys);
  }
}

// The hooks of backward start the sums while the graph is recorded, unless that is not wanted.
TEST_F(DeviceOverRanks, RecordedSumsTravelDuringBackward) {
  const auto counts = [](const std::string& keys) {
    train(2, keys);
    int64_t kernels = 0, sums = 0, meanwhile = 0;
    // Of each rank: forward and backward, update, the whole step.
    const auto lines = lines_of(file("recordings"));
    EXPECT_EQ(lines.size(), 6u);
    EXPECT_EQ(std::sscanf(lines.back().c_str(), "kernels %ld sums %ld meanwhile %ld", &kernels,
                          &sums, &meanwhile),
              3);
    EXPECT_GT(sums, 3) << keys;  // buckets and control vector
    return static_cast<double>(meanwhile) / static_cast<double>(kernels);
  };
  EXPECT_GT(counts(""), 0.2);  // half of a step's kernels are backward's
  EXPECT_EQ(counts("--comm.overlap off"), 0);
}

// If one rank cannot, none does; and what carries memory may say so before.
TEST_F(DeviceOverRanks, WhereSumsCannotBeRecordedAllRanksLaunchTwoGraphs) {
  for (const std::string keys : {"", "--train.shard_optimizer true"}) {
    const RankedRun launched = train(3, keys + " --run.graph false");
    const RankedRun refused = train(3, keys, "FAKE_SUMS='refused on rank 1'");
    EXPECT_THAT(refused.note,
                testing::HasSubstr("recorded as two graphs, the sums over the ranks between them: "
                                   "rank 1: this rank records no sums"));
    expect_same_bits(refused, launched, keys);
    const RankedRun between = train(3, keys, "FAKE_SUMS=between");
    EXPECT_THAT(between.note, testing::HasSubstr("rank 0: what carries them cannot be recorded"));
    expect_same_bits(between, launched, keys);
  }
}

// A rank that stands still within a launch is missed within the limit, and the job ends.
TEST_F(DeviceOverRanks, AFrozenRankEndsTheRecordedTraining) {
  const Outcome outcome =
      run("FAKE_SUMS='frozen on rank 1' " + mpirun(2, kAway) + " train " + tiny_.config +
          " --train.steps 1000 --eval.every 0 --comm.gpu_aware_mpi true "
          "--comm.train_timeout_s 3 --outdir " +
          file("frozen"));
  EXPECT_EQ(outcome.exit_code, 5) << outcome.err;
  EXPECT_THAT(outcome.err, testing::HasSubstr("limit of phase train"));
  EXPECT_THAT(text_of(file("frozen/log.txt")), testing::HasSubstr("recorded as one graph"));
  EXPECT_LT(outcome.seconds, 60);
}

// 24 images of 8 x 8 numbers, of each what is told of it; some of their numbers are missing.
std::string write_told_data(const Folder& folder) {
  auto file = data::Hdf5File::create(folder / "told.h5");
  const auto numbers = torch::sin(torch::arange(24 * 64, torch::kFloat32));
  auto images = numbers.view({24, 1, 8, 8}).clone();
  images.masked_fill_(numbers.view({24, 1, 8, 8}) > 0.9, std::nan(""));
  file.write_array("/train/images", images);
  file.write_array("/train/e", numbers.slice(0, 0, 48).view({24, 2}));
  file.write_array("/train/f", numbers.flip(0).view({24, 1, 8, 8}));
  file.close();
  return folder / "told.h5";
}

// What is told of an example, or missing of it, comes to the device as the pixels do.
TEST_F(Device, AStepWithConditionsAugmentationOrMissingValuesIsTheDevicesOwn) {
  const std::string told = "--data.path " + write_told_data(*folder_) +
                           " --eval.every 0 --data.missing nan --diffusion.label_drop 0.3"
                           " --condition.e.array {split}/e";
  const std::string field = " --condition.f.array {split}/f --condition.f.kind field";
  for (const auto& [keys, ranks] :
       std::vector<std::pair<std::string, int>>{{told + field + " --train.micro_batch 5", 1},
                                                {told, 2},
                                                {"--data.augment 0.5 --eval.every 0", 1}})
    expect_devices_own_steps(keys, ranks);
}

// Steps of the T-step bound, a divergence's signs, a schedule that is trained, float16's scale.
TEST_F(Device, EveryLossWithoutAHistoryIsTheDevicesOwn) {
  for (const std::string keys :
       {"--diffusion.loss elbo --diffusion.train_steps 20",
        "--diffusion.loss hybrid --diffusion.prediction eps --diffusion.train_steps 20",
        "--diffusion.schedule vdm_learned",
        "--diffusion.divergence_weight 0.1 --diffusion.loss simple"})
    expect_devices_own_steps(keys);
}

// The fake computes in float32 whatever the precision is, so float16's scale must not show. Scaled
// up further, the gradient's norm overflows float32, and the device halves its scale by itself.
TEST_F(Device, Float16sScaleIsTheDevicesOwn) {
  const auto train = [](const std::string& program, const std::string& name,
                        const std::string& keys) {
    succeed(program + " train " + tiny_.config +
            " --eval.every 0 --checkpoint.every 5 --comm.gpu_aware_mpi true " + keys +
            " --outdir " + file(name));
  };
  const auto trained = [&](const std::string& program, const std::string& name,
                           const std::string& keys) {
    train(program, name, keys);
    return weights(name);
  };
  const auto gap = [](const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
    double most = 0;
    for (size_t i = 0; i < a.size(); ++i)
      most = std::max(most, (a[i] - b[i]).abs().max().item<double>());
    return most;
  };
  const std::string half = "--train.precision fp16 --train.steps ";
  EXPECT_LT(gap(trained("SCORENET", "f-single", "--train.steps 10"),
                trained(kAway, "f-half", half + "10")),
            1e-4);
  auto data = data::Hdf5File::create(file("large.h5"));
  data.write_array("/train/images", 2000 * torch::sin(torch::arange(24 * 64)).view({24, 1, 8, 8}));
  data.close();
  const std::string large =
      "--data.path " + file("large.h5") + " --train.loss_scaling 1e12 --run.timeline 4 " + half;
  const auto whole = trained(kAway, "f-whole", large + "10");
  EXPECT_THAT(text_of(file("f-whole/timeline/rank0.json")), testing::Not(HasSubstr("\"forward\"")));
  const std::string log = text_of(file("f-whole/log.txt"));
  int halved = 0;
  for (double scale = 65536; scale > 1; scale /= 2, ++halved) {
    const std::string line = "step " + std::to_string(halved + 1) +
                             ": gradients overflow float16 at a loss scale of " +
                             std::to_string(static_cast<int>(scale)) + ",";
    if (log.find(line) == std::string::npos) break;
  }
  EXPECT_GE(halved, 3);
  const auto tick = nlohmann::json::parse(lines_of(file("f-whole/stats.jsonl")).back());
  EXPECT_EQ(tick["skipped"], halved);
  EXPECT_LT(halved, 10);
  EXPECT_EQ(gap(whole, trained(kAway, "f-launched", large + "10 --run.graph false")), 0);
  train(kAway, "f-parts", large + "5");
  EXPECT_EQ(gap(whole, trained(kAway, "f-parts", large + "10")), 0);
  for (const std::string keys : {"", " --train.shard_optimizer true"})
    EXPECT_LT(gap(whole, trained(mpirun(2, kAway), keys.empty() ? "f-two" : "f-sharded",
                                 large + "10" + keys)),
              1e-4)
        << keys;
}

// 360 points of the plane, of which number 5 is far away: their file.
std::string write_points_with_spike(const Folder& folder) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (360, 2), }";
  header.resize(118, ' ');
  {
    std::ofstream out(folder / "spike.npy", std::ios::binary);
    out << "\x93NUMPY" << '\x01' << '\0' << static_cast<char>(119) << '\0' << header << '\n';
    for (int i = 0; i < 720; ++i) {
      const float value = i / 2 == 5 ? 300.0F : static_cast<float>(i % 17 - 8) / 8;
      out.write(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }
  const Outcome made = run("SCORENET data convert --npy " + (folder / "spike.npy") +
                           " --validation 0 --out " + (folder / "spike.h5"));
  EXPECT_EQ(made.exit_code, 0) << made.err;
  return folder / "spike.h5";
}

// The device holds loss and norm against the limits that the host gave it before the step.
TEST_F(Device, ASpikeIsLeftOutByTheDeviceAsByTheHost) {
  const std::string rest = " train " + tiny_.config + " --data.path " +
                           write_points_with_spike(*folder_) +
                           " --model.type mlp --model.hidden 8,8 --eval.every 0 --train.steps 160 "
                           "--train.batch_size 4 --run.tick 160 --train.on_spike ";
  std::vector<std::vector<torch::Tensor>> trained;
  for (const std::string& command :
       {"SCORENET" + rest + "skip", kAway + rest + "skip", kAway + rest + "log"}) {
    const std::string name = "spike" + std::to_string(trained.size());
    succeed(command + " --outdir " + file(name));
    EXPECT_THAT(text_of(file(name + "/log.txt")), testing::HasSubstr("step 134: the loss "));
    const auto tick = nlohmann::json::parse(lines_of(file(name + "/stats.jsonl")).back());
    EXPECT_EQ(tick["skipped"], trained.size() < 2 ? 1 : 0);
    trained.push_back(weights_in(file(name + "/snapshots/network-0000160-ema0.9.safetensors")));
  }
  double gap = 0, gap_to_logged = 0;
  for (size_t i = 0; i < trained[0].size(); ++i) {
    gap = std::max(gap, (trained[0][i] - trained[1][i]).abs().max().item<double>());
    gap_to_logged =
        std::max(gap_to_logged, (trained[1][i] - trained[2][i]).abs().max().item<double>());
  }
  EXPECT_LT(gap, 1e-4);
  EXPECT_GT(gap_to_logged, 1e-3);  // one step of Adam
}

// The device decides by itself that a step must not happen; the host hears of it a step later.
TEST_F(Device, AStepThatIsNotFiniteChangesNothingAndNamesItsSample) {
  const std::string rest = " train " + tiny_.config + " --data.path " +
                           write_overflowing_data(*folder_) +
                           " --eval.every 0 --train.steps 10 --train.batch_size 12 ";
  const Outcome halted = run(kAway + rest + "--outdir " + file("halted"));
  EXPECT_EQ(halted.exit_code, 4) << halted.err;
  EXPECT_THAT(halted.err, testing::HasSubstr("sample 17 "));
  const std::vector<std::pair<int, std::string>> cases = {
      {1, ""}, {2, ""}, {2, "--train.shard_optimizer true "}};
  for (const auto& [ranks, keys] : cases) {
    std::vector<int64_t> skipped;
    std::vector<std::vector<torch::Tensor>> trained;
    for (const std::string& program : {std::string("SCORENET"), kAway}) {
      const std::string name = "skip" + std::to_string(trained.size());
      succeed("rm -rf " + file(name));
      succeed((ranks == 1 ? program : mpirun(ranks, program)) + rest + keys +
              "--train.on_nonfinite skip --run.tick 3 --comm.gpu_aware_mpi true --outdir " +
              file(name));
      const auto tick = nlohmann::json::parse(lines_of(file(name + "/stats.jsonl")).back());
      skipped.push_back(tick["skipped"].get<int64_t>());
      trained.push_back(weights(name));
    }
    // Number 17 comes once in every epoch of 24 images: in every other step of 12.
    EXPECT_THAT(skipped, testing::Each(5)) << ranks << " ranks " << keys;
    for (size_t i = 0; i < trained[0].size(); ++i) {
      EXPECT_LT((trained[0][i] - trained[1][i]).abs().max().item<double>(), 1e-4)
          << ranks << " ranks, parameter " << i;
    }
  }
}

TEST_F(Device, ResumesWhatItSaved) {
  const std::string rest = " train " + tiny_.config + " --outdir " + file("parts") +
                           " --checkpoint.every 5 --train.steps ";
  succeed(kAway + rest + "5");
  succeed(kAway + rest + "10");
  succeed(kAway + " train " + tiny_.config + " --train.steps 10 --outdir " + file("whole"));
  const auto parts = weights("parts"), whole = weights("whole");
  for (size_t i = 0; i < parts.size(); ++i) EXPECT_TRUE(torch::equal(parts[i], whole[i])) << i;
}

TEST_F(Device, EvaluatesEveryLikelihood) {
  for (const std::string options :
       {"elbo", "elbo-10", "mcallester", "immse", "ode --steps 4", "ode --rtol 1e-2",
        "ode --steps 4 --dequantise truncated-normal", "ode --steps 4 --dequantise variational",
        "ode --steps 2 --exact-trace", "wkb --steps 4 --wkb-profile 2",
        "hbar-elbo --steps 4 --hbar 0.5", "hbar-iw --steps 4 --hbar 0.5 --paths 2"})
    expect_same_metric(options);
}

TEST_F(Device, ComparesSamplesWithData) {
  expect_same_metric("fd --features pixels --sampler-steps 3");
  expect_same_metric("kid --features pixels --sampler euler-maruyama --sampler-steps 3");
}

TEST_F(Device, SamplesByEveryMethod) {
  for (const auto& options : std::vector<std::string>{
           "--sampler ancestral", "--sampler ddim --trajectory",
           "--sampler euler-maruyama --hbar 0.5",
           "--sampler euler-maruyama --hbar-schedule 0:1,1:0", "--sampler heun --churn 1",
           "--sampler dpmpp-2m", "--sampler dpmpp-2m-sde", "--sampler exponential",
           "--sampler pc --corrector-steps 1", "--sampler pc --corrector-norms batch",
           "--sampler ode --rtol 1e-2",
           "--sampler heun --weak-network " + snapshot() + " --guidance 2"})
    expect_same_samples(options);
}

// Batches on several threads take turns at the recorded network.
TEST_F(Device, SamplesOnSeveralThreads) {
  const std::string rest = " sample --network " + snapshot() +
                           " --seeds 0-11 --batch 2 --steps 6 --sampler heun --save-h5 --outdir ";
  succeed("SCORENET" + rest + file("one"));
  succeed(kAway + rest + file("several") + " --threads 4");
  const auto x = read_array(file("one/samples.h5"), "/samples");
  const auto y = read_array(file("several/samples.h5"), "/samples");
  EXPECT_LT((x - y).abs().max().item<double>(), 1e-4 * (1 + x.abs().max().item<double>()));
}

TEST_F(Device, TrainsAndIsGuidedByAClassifierAndByLabels) {
  std::string labels;
  for (int i = 0; i < 60; ++i) labels += static_cast<char>(i % 2);
  write_npy(file("labels.npy"), "60,", labels);
  const std::string data = file("labelled.h5");
  succeed("SCORENET data convert --npy " + file("images.npy") + " --labels " + file("labels.npy") +
          " --test 8 --out " + data);
  const std::string common =
      " --data.path " + data +
      " --data.labels true --model.num_classes 2 --train.steps 10 --eval.every 0 --outdir ";
  succeed(kAway + " train " + tiny_.config + " --model.type classifier" + common + file("judge"));
  succeed(kAway + " train " + tiny_.config + " --diffusion.label_drop 0.2" + common +
          file("labelled"));
  expect_same_samples("--class 1 --guidance 2", snapshot("labelled"));
  expect_same_samples("--class 1 --guidance 2 --classifier " + snapshot("judge"));
  expect_same_metric("fd --sampler-steps 3 --features " + snapshot("judge"));
}

}  // namespace
}  // namespace scorenet::test
