// A site's own files: the program trains on them as they lie, to the bit as on the same data in its
// own layout, and evaluates other files of that layout with nothing said twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/data/hdf5.hpp"
#include "tests/launch/program.hpp"

namespace scorenet::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class DataMaps : public testing::Test {
 protected:
  static torch::Tensor pixels(int64_t n) {
    return torch::arange(n * 64).mul(37).remainder(251).to(torch::kUInt8).view({n, 1, 8, 8});
  }
  using Arrays = std::vector<std::pair<std::string, torch::Tensor>>;
  std::string file(const std::string& name, const Arrays& arrays,
                   const data::Hdf5Storage& storage = {}) const {
    auto out = data::Hdf5File::create(folder_ / name);
    for (const auto& [array, values] : arrays) out.write_array(array, values.contiguous(), storage);
    out.close();
    return folder_ / name;
  }
  std::string command(const std::string& name, const std::string& keys, int ranks = 1) const {
    return (ranks == 1 ? std::string("SCORENET") : mpirun(ranks)) + " train " + tiny_.config +
           " --outdir " + (folder_ / name) +
           " --train.batch_size 6 --train.steps 4 --checkpoint.every 4 --eval.every 4 --eval.n 8 "
           "--eval.samples 0 " +
           keys;
  }
  void expect_same_weights(const std::string& a, const std::string& b) const {
    const auto weights = [this](const std::string& name) {
      return checkpoint::read_safetensors(folder_ /
                                          (name + "/checkpoints/0000004/model.safetensors"))
          .tensors;
    };
    const auto first = weights(a), second = weights(b);
    ASSERT_FALSE(first.empty());
    for (const auto& [name, tensor] : first)
      EXPECT_TRUE(torch::equal(tensor, second.at(name))) << a << ' ' << b << ' ' << name;
  }
  std::string snapshot(const std::string& name) const {
    return folder_ / (name + "/snapshots/network-0000004-ema0.9.safetensors");
  }

  Folder folder_;
  TinyRun tiny_ = make_tiny_run(folder_);
};

constexpr const char* kSplits = " --data.splits '{train = \"0:24\", validation = \"24:32\"}'";

TEST_F(DataMaps, TrainingUnderAMapIsToTheBitThatOnTheSameDataInTheOwnLayout) {
  const auto all = pixels(32);
  const auto own = file("own.h5", {{"/train/images", all.slice(0, 0, 24)},
                                   {"/validation/images", all.slice(0, 24, 32)}});
  const auto last = file("nhwc.h5", {{"/photos", all.permute({0, 2, 3, 1})}});
  file("part-0.h5", {{"/fields", all.slice(0, 0, 5).squeeze(1)}});
  file("part-1.h5", {{"/fields", all.slice(0, 5, 32).squeeze(1)}});
  file("well.h5", {{"/t0_fields/u", all.view({4, 8, 8, 8})}});
  write_npy(folder_ / "maps.npy", "32, 8, 8",
            {static_cast<const char*>(all.const_data_ptr()), static_cast<size_t>(all.numel())});
  const std::vector<std::pair<std::string, std::string>> maps = {
      {"nhwc", "--data.path " + last + " --data.arrays photos --data.channel_axis -1"},
      {"parts", "--data.path '" + (folder_ / "part-*.h5") +
                    "' --data.arrays fields --data.channel_axis none"},
      {"well", "--data.path " + (folder_ / "well.h5") +
                   " --data.arrays t0_fields/u --data.sample_axes 0,1 --data.channel_axis none"},
      {"npy", "--data.path " + (folder_ / "maps.npy") + " --data.channel_axis none"}};
  for (int ranks = 1; ranks <= 3; ++ranks) {
    const std::string suffix = std::to_string(ranks);
    const Outcome plain = run(command("own" + suffix, "--data.path " + own, ranks));
    ASSERT_EQ(plain.exit_code, 0) << plain.err;
    for (const auto& [name, keys] : maps) {
      if (ranks > 1 && name != "parts" && name != "well") continue;
      const Outcome mapped = run(command(name + suffix, keys + kSplits, ranks));
      ASSERT_EQ(mapped.exit_code, 0) << mapped.err;
      expect_same_weights("own" + suffix, name + suffix);
    }
  }
}

TEST_F(DataMaps, EvaluateReadsOtherFilesOfTheLayoutThatWasTrainedOn) {
  const auto values = pixels(40).to(torch::kFloat32) / 125 - 1;
  const auto nhwc = [&](const std::string& name, const torch::Tensor& x) {
    return file(name, {{"/fields", x.permute({0, 2, 3, 1})}});
  };
  const auto data = nhwc("a.h5", values.slice(0, 0, 32));
  const std::string layout = " --data.arrays fields --data.channel_axis -1";
  const Outcome trained = run(command("run", "--data.path " + data + layout + kSplits));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_THAT(trained.out,
              AllOf(HasSubstr("values          -1 to 1, mean"), Not(HasSubstr("warning"))));
  const auto nats = [&](const std::string& options) {
    const Outcome done =
        run("SCORENET evaluate --network " + snapshot("run") + " --metrics elbo --n 8 --json " +
            (folder_ / "e.json") + " --force " + options);
    EXPECT_EQ(done.exit_code, 0) << done.err;
    return nlohmann::json::parse(text_of(folder_ / "e.json"))["metrics"]["elbo"]["nats_mean"]
        .get<double>();
  };
  // Its own file, said by nothing but the snapshot; the same samples from other files.
  const double own = nats("--split validation");
  const auto held_out = values.slice(0, 24, 32);
  EXPECT_EQ(nats("--split all --data " + nhwc("b.h5", held_out)), own);
  EXPECT_EQ(nats("--split validation --data " + nhwc("b.h5", held_out) +
                 " --data.splits '{validation = \"0:8\"}'"),
            own);
  const auto first = file("c.h5", {{"/validation/images", held_out}});
  EXPECT_EQ(nats("--split validation --data " + first +
                 " --data.arrays {split}/images --data.channel_axis 1 --data.splits {}"),
            own);
  const Outcome missing = run("SCORENET evaluate --network " + snapshot("run") + " --data " +
                              nhwc("d.h5", held_out) + " --split validation --metrics elbo");
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.err, AllOf(HasSubstr("d.h5"), HasSubstr("8 samples"), HasSubstr("24:32"),
                                 HasSubstr("\"all\"")));
  const Outcome unknown = run("SCORENET evaluate --network " + snapshot("run") + " --metrics elbo");
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("split test"), HasSubstr("train, validation")));
}

TEST_F(DataMaps, AFileOfSeveralThatWasReplacedIsNamedOnResume) {
  const auto all = pixels(32);
  file("part-0.h5", {{"/fields", all.slice(0, 0, 12)}});
  file("part-1.h5", {{"/fields", all.slice(0, 12, 32)}});
  const std::string keys =
      "--data.path '" + (folder_ / "part-*.h5") + "' --data.arrays fields" + kSplits;
  ASSERT_EQ(run(command("run", keys)).exit_code, 0);
  // One of them, which has fewer samples than the split, is what samples are to be like.
  const Outcome like =
      run("SCORENET sample --network " + snapshot("run") + " --seeds 0-1 --steps 2 --like " +
          (folder_ / "part-0.h5") + " --out " + (folder_ / "like.h5"));
  EXPECT_EQ(like.exit_code, 0) << like.err;
  EXPECT_EQ(run(command("run", keys + " --train.steps 5")).exit_code, 0);
  file("part-1.h5", {{"/fields", all.slice(0, 12, 32).bitwise_not()}});
  const Outcome other = run(command("run", keys + " --train.steps 6"));
  EXPECT_EQ(other.exit_code, 3) << other.err;
  EXPECT_THAT(other.err, AllOf(HasSubstr("the first file that differs is part-1.h5"),
                               HasSubstr("data.changed")));
}

TEST_F(DataMaps, ValuesThatNoNetworkExpectsAreToldWithTheTransform) {
  const auto kelvin = pixels(32).to(torch::kFloat32) / 10 + 270;
  const auto data = file("k.h5", {{"/fields", kelvin}});
  const Outcome dry =
      run(command("run", "--dry-run --data.path " + data + " --data.arrays fields" + kSplits));
  EXPECT_EQ(dry.exit_code, 0) << dry.err;
  EXPECT_THAT(dry.out, AllOf(HasSubstr("values          270 to 295, mean 28"),
                             HasSubstr("data.transforms = [\"standardise(channel)\"]")));
}

TEST_F(DataMaps, WrongMapsAreRefusedBeforeTheFirstStep) {
  const auto data = file("d.h5", {{"/fields", pixels(32)}});
  const auto refused = [&](const std::string& keys, int code, const std::string& says) {
    for (const char* dry : {"", " --dry-run"}) {
      const Outcome outcome = run(command("refused", "--data.path " + data + " " + keys + dry));
      EXPECT_EQ(outcome.exit_code, code) << keys << outcome.err;
      EXPECT_THAT(outcome.err, HasSubstr(says)) << keys;
    }
  };
  const std::string fields = std::string("--data.arrays fields") + kSplits;
  refused("--data.arrays fields", 2, "data.splits");
  refused("--data.arrays nothing" + std::string(kSplits), 3, "no dataset \"/nothing\"");
  refused(fields + " --data.channel_axis 4", 3, "no axis 4");
  refused(fields + " --data.sample_axes 0,1", 2, "data.channel_axis = 1");
  refused(fields + " --data.reshape 1,9,9", 3, "(1, 9, 9)");
  refused("--data.arrays fields --data.splits '{train = \"0:33\", validation = \"0:8\"}'", 3,
          "32 samples");
  refused(fields + " --data.window :,:,0:9", 3, "axis 2");
  EXPECT_FALSE(fs::exists(folder_ / "refused/stats.jsonl"));
}

}  // namespace
}  // namespace scorenet::test
