// Snapshots that are damaged, or that somebody wrote with intent: whatever opens them refuses them
// alike, at once, with exit code 6.
#include "framework/score/snapshot.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "framework/checkpoint/digests.hpp"
#include "framework/config/parse.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/score/mixture_file.hpp"
#include "models/flops.hpp"
#include "models/least_parameters.hpp"
#include "tests/launch/program.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::score {
namespace {

using test::run;

config::Config points_config() {
  config::Config config;
  config.model.type = "mlp";
  config.model.mlp.hidden = {8};
  config.train.steps = 1;
  return config;
}

checkpoint::TensorMap weights_of(const config::Config& config, const std::vector<int64_t>& shape) {
  checkpoint::TensorMap tensors;
  for (const auto& [name, tensor] : named_parameters(build_model(config, shape, torch::kCPU)))
    tensors[name] = tensor.detach();
  return tensors;
}

class SnapshotTest : public testing::Test {
 protected:
  SnapshotTest() : metadata_(snapshot_metadata(config_, {2}, {12, "emastd0.1"})) {}

  std::string whole() {
    write_snapshot(path_, tensors_, metadata_);
    return files::read_file(path_);
  }
  // Whether the bytes are refused as damage; anything but a CheckpointError fails the test.
  bool refused(const std::string& bytes) {
    test::write_bytes(path_, bytes);
    try {
      load_snapshot(path_, torch::kCPU);
      return false;
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("x.safetensors"));
      return true;
    }
  }
  void refused_with(const std::string& key, const std::string& value, const std::string& named) {
    auto metadata = metadata_;
    metadata[key] = value;
    write_snapshot(path_, tensors_, metadata);
    const testing::ScopedTrace trace(__FILE__, __LINE__, key + " = " + value);
    EXPECT_ERROR(load_snapshot(path_, torch::kCPU), CheckpointError, "x.safetensors", named);
  }

  test::TemporaryFolder folder_{test::memory_or_disk()};
  std::filesystem::path path_ = folder_.path() / "x.safetensors";
  config::Config config_ = points_config();
  checkpoint::TensorMap tensors_ = weights_of(config_, {2});
  checkpoint::Metadata metadata_;
};

TEST_F(SnapshotTest, ADamagedByteAnywhereIsRefused) {
  const std::string bytes = whole();
  EXPECT_TRUE(load_snapshot(path_, torch::kCPU).has_digests);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    EXPECT_TRUE(refused(damaged)) << "byte " << i;
  }
}

TEST_F(SnapshotTest, AFileCutAnywhereIsRefused) {
  const std::string bytes = whole();
  for (size_t length = 0; length < bytes.size(); length += 1 + length / 16)
    EXPECT_TRUE(refused(bytes.substr(0, length))) << length;
  EXPECT_TRUE(refused(bytes.substr(0, bytes.size() - 1)));
  EXPECT_TRUE(refused(bytes + '\0'));
}

TEST_F(SnapshotTest, OneOfAnOlderVersionLoadsAndItsDamageIsRefusedOrUnseen) {
  checkpoint::write_safetensors(path_, tensors_, metadata_);
  EXPECT_FALSE(load_snapshot(path_, torch::kCPU).has_digests);
  const std::string bytes = files::read_file(path_);
  size_t refusals = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i / 2 % 8)));
    refusals += refused(damaged);
  }
  EXPECT_GT(refusals, bytes.size() / 8);
}

TEST_F(SnapshotTest, ShapesAndStepsThatAreNoneAreRefused) {
  for (const char* shape : {"0", "abc", "", "-1", "1e9,1e9", "2,", ",2", "2;3", "0x2", " 2", "2.0",
                            "9223372036854775807,2", "99999999999999999999", "3000000000",
                            "65536,65536", "1,1,1,1,1,1,1,1,1,1"})
    refused_with("scorenet.example_shape", shape, "examples of shape");
  for (const char* step : {"", "-1", "1e3", "x", "99999999999999999999", "1 "})
    refused_with("scorenet.step", step, "step");
}

TEST_F(SnapshotTest, ConfigsAreHeldToTheRulesOfEveryConfig) {
  for (const char* text :
       {"[model]\nlayers_per_block = 1000000000", "[model]\ntimesteps = 1000000000",
        "[model]\nchannels = []\nattention = []", "[model]\nhidden = []\ntype = \"mlp\"",
        "[model]\ntype = \"gaussian_mixture\"\nfile = \"/dev/zero\"", "[model]\ntype = \"none\"",
        "[model]\nheads = 0", "[model]\nunheard_of = 1", "[model",
        "[model]\ntype = \"mlp\"\nhidden = [8]\ndropout = nan",
        "[diffusion]\nschedule = \"vdm_linear\"\ngamma_min = 6"})
    refused_with("scorenet.config", text, "config");
}

// Each within the bounds of its keys, and far beyond any memory together.
TEST_F(SnapshotTest, NetworksThatTheFileCannotHoldAreNotBuilt) {
  for (const char* model :
       {"hidden = [65536, 65536, 65536, 65536]\ntype = \"mlp\"",
        "hidden = [8]\nnum_classes = 1048576\ntype = \"mlp\"",
        "channels = [65536, 65536]\nattention = [false, false]\nlayers_per_block = 64",
        "type = \"dit\"\nwidth = 65536\ndepth = 512\nheads = 1",
        "type = \"classifier\"\nhidden = [65536, 65536]\nnum_classes = 2"})
    refused_with("scorenet.config",
                 std::string(std::string(model).find("num_classes") == std::string::npos
                                 ? "[model]\n"
                                 : "[data]\nlabels = true\n[model]\n") +
                     model,
                 "at least");
  refused_with("scorenet.config", "[model]\ntype = \"mlp\"\nhidden = [9]", "");
  refused_with("scorenet.config", "[model]\ntype = \"mlp\"\nhidden = [4, 4]", "");
}

// The bound never stands above a real network's size, and not far below it.
TEST(LeastParameters, IsBelowTheTruthAndAboveATenthOfIt) {
  models::ModelOptions o;
  o.unet.channels = {32, 64};
  o.unet.attention = {false, true};
  for (const std::string type : {"unet", "dit", "mlp"}) {
    for (const int64_t classes : {0, 10}) {
      o.type = type;
      o.unet.num_classes = o.dit.num_classes = o.mlp.num_classes = classes;
      const std::vector<int64_t> shape =
          type == "mlp" ? std::vector<int64_t>{2} : std::vector<int64_t>{1, 8, 8};
      const auto truth =
          static_cast<double>(models::parameter_count(*models::make_model(o, shape)));
      EXPECT_LE(models::least_parameters(o, shape), truth) << type;
      EXPECT_GE(models::least_parameters(o, shape), truth / 10) << type;
    }
  }
}

TEST_F(SnapshotTest, TensorsOfAnotherTypeNameOrNumberAreRefused) {
  const auto first = tensors_.begin()->first;
  auto tensors = tensors_;
  tensors[first] = tensors[first].to(torch::kInt64);
  write_snapshot(path_, tensors, metadata_);
  EXPECT_ERROR(load_snapshot(path_, torch::kCPU), CheckpointError, first, "floating-point");
  tensors = tensors_;
  tensors["more"] = torch::zeros({1});
  write_snapshot(path_, tensors, metadata_);
  EXPECT_ERROR(load_snapshot(path_, torch::kCPU), CheckpointError, "tensors");
}

// Two kinds of damage, a pipe, a folder and a device: every verb that opens a snapshot says so with
// the same exit code.
TEST_F(SnapshotTest, EveryVerbRefusesAlike) {
  std::string bytes = whole();
  const std::string good = folder_.file("good.safetensors");
  std::filesystem::copy(path_, good);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  test::write_bytes(folder_.file("bits.safetensors"), bytes);
  test::write_bytes(folder_.file("cut.safetensors"), bytes.substr(0, bytes.size() / 2));
  ASSERT_EQ(::mkfifo(folder_.file("pipe.safetensors").c_str(), 0600), 0);
  std::filesystem::create_directory(folder_.file("folder.safetensors"));
  ASSERT_EQ(run("SCORENET info " + good).exit_code, 0);
  ASSERT_EQ(
      run("SCORENET data synthesize --kind swiss-roll --train 8 --validation 8 --test 8 --out " +
          folder_.file("points.h5"))
          .exit_code,
      0);
  const std::string out = folder_.file("out");
  int made = 0;
  for (const char* damage : {"bits", "cut", "pipe", "folder"}) {
    const std::string snapshot = folder_.file(std::string(damage) + ".safetensors");
    const std::string fresh = out + std::to_string(made++);
    for (const std::string& verb :
         {"info " + snapshot,
          "evaluate --n 1 --data " + folder_.file("points.h5") + " --network " + snapshot,
          "sample --seeds 0 --outdir " + fresh + "a --network " + snapshot,
          "ema reconstruct --out " + fresh + "b.safetensors " + good + " " + snapshot,
          "convert to-diffusers --outdir " + fresh + "c " + snapshot}) {
      const auto outcome = run("SCORENET " + verb, 60);
      EXPECT_EQ(outcome.exit_code, 6) << verb << "\n" << outcome.err;
      EXPECT_THAT(outcome.err, testing::HasSubstr(std::string(damage) + ".safetensors"));
      EXPECT_THAT(outcome.err, testing::Not(testing::HasSubstr("internal error")));
    }
  }
}

TEST_F(SnapshotTest, MixturesThatTheirFileCannotHoldAreNotRead) {
  const std::string path = folder_.file("mixture.h5");
  data::Hdf5File file = data::Hdf5File::create(path);
  file.create_array("weights", {int64_t{1} << 40}, torch::kFloat64, {1024, 0});
  file.create_array("means", {int64_t{1} << 40, 1}, torch::kFloat64, {1024, 0});
  file.create_array("covariances", {int64_t{1} << 40, 1, 1}, torch::kFloat64, {1024, 0});
  file.close();
  EXPECT_ERROR(read_mixture(path), DataError, "mixture.h5", "never written");
  const std::string pipe = folder_.file("pipe.h5");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_ERROR(read_mixture(pipe), DataError, "pipe.h5", "is a pipe");
}

}  // namespace
}  // namespace scorenet::score
