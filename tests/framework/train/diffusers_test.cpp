// Conversion from and to diffusers' folders. The weights follow a formula, and the expected outputs were computed by
// diffusers itself (tests/models/data/make_unet2d_reference.py).
#include "framework/train/diffusers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/core/error.hpp"
#include "framework/diffusion/discrete_steps.hpp"
#include "framework/train/snapshot.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::train {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;

fs::path reference(const std::string& name) { return fs::path(TEST_DATA) / name; }

// 0.1 sin(1 + 0.1 k + 0.7 i), k the sum of the name's bytes modulo 97; norm scales plus one.
torch::Tensor formula(const std::string& name, const std::vector<int64_t>& shape) {
  int k = 0;
  for (const char c : name) k += static_cast<unsigned char>(c);
  const auto n = c10::multiply_integers(shape);
  auto values = 0.1 * (1 + 0.1 * (k % 97) + 0.7 * torch::arange(n, torch::kFloat64)).sin();
  if (shape.size() == 1 && name.ends_with("weight")) values = values + 1;
  return values.view(shape).to(torch::kFloat32);
}

// The parameters of diffusers' network with the formula's weights, by the list that diffusers wrote.
checkpoint::TensorMap formula_weights(const std::string& tag) {
  std::ifstream list(reference("unet2d_" + tag + "_parameters.txt"));
  checkpoint::TensorMap tensors;
  for (std::string line; std::getline(list, line);) {
    std::istringstream in(line);
    std::string name;
    in >> name;
    std::vector<int64_t> shape;
    for (int64_t size = 0; in >> size;) shape.push_back(size);
    tensors[name] = formula(name, shape);
  }
  return tensors;
}

Json ddpm_config() {
  return {{"sample_size", {6, 10}},
          {"in_channels", 2},
          {"out_channels", 2},
          {"layers_per_block", 1},
          {"block_out_channels", {8, 16}},
          {"norm_num_groups", 4},
          {"down_block_types", {"DownBlock2D", "AttnDownBlock2D"}},
          {"up_block_types", {"AttnUpBlock2D", "UpBlock2D"}},
          {"attention_head_dim", nullptr},
          {"downsample_padding", 0},
          {"flip_sin_to_cos", false},
          {"freq_shift", 1},
          {"norm_eps", 1e-6}};
}

Json default_config() {
  Json json = ddpm_config();
  for (const char* key : {"downsample_padding", "flip_sin_to_cos", "freq_shift", "norm_eps"})
    json.erase(key);
  json["attention_head_dim"] = 4;
  json["num_class_embeds"] = 4;
  return json;
}

class Diffusers : public testing::Test {
 protected:
  void write(const Json& config, const checkpoint::TensorMap& tensors) {
    std::ofstream(folder_.path() / "config.json") << config.dump();
    checkpoint::write_safetensors(folder_.path() / "diffusion_pytorch_model.safetensors", tensors);
  }
  LoadedSnapshot converted() {
    snapshot_from_diffusers(folder_.path(), folder_.path() / "a.safetensors");
    return load_snapshot(folder_.path() / "a.safetensors", torch::kCPU);
  }
  template <class Failure>
  std::string refusal(const Json& config) {
    write(config, formula_weights("ddpm"));
    try {
      converted();
    } catch (const Failure& error) {
      return error.what();
    }
    return "no error";
  }
  test::TemporaryFolder folder_;
};

// What diffusers computed at the steps 3 and 250, from the log-SNR of these steps.
void expect_outputs(LoadedSnapshot& snapshot, const std::string& tag, const torch::Tensor& labels) {
  const auto levels = diffusion::log_snr_of_steps({});
  models::NetworkInput input;
  input.x = (0.3 * torch::arange(2 * 2 * 6 * 10, torch::kFloat64))
                .sin()
                .view({2, 2, 6, 10})
                .to(torch::kFloat32);
  input.log_snr = torch::tensor({levels[3], levels[250]}, torch::kFloat64);
  input.labels = labels;
  const torch::NoGradGuard no_grad;
  const auto y = snapshot.model.network->forward(input).flatten();
  std::ifstream numbers(reference("unet2d_" + tag + "_output.txt"));
  for (int64_t i = 0; i < y.numel(); ++i) {
    double expected = NAN;
    numbers >> expected;
    // Some 50 float32 layers, as in unet_test.
    ASSERT_NEAR(y[i].item<double>(), expected, 2e-5) << tag << " " << i;
  }
}

TEST_F(Diffusers, AnImportedNetworkGivesDiffusersOutputs) {
  write(ddpm_config(), formula_weights("ddpm"));
  auto snapshot = converted();
  EXPECT_EQ(snapshot.example_shape, (std::vector<int64_t>{2, 6, 10}));
  EXPECT_EQ(snapshot.model.config.diffusion.prediction, "eps");
  EXPECT_EQ(snapshot.model.config.diffusion.schedule, "vp_linear");
  expect_outputs(snapshot, "ddpm", {});
}

TEST_F(Diffusers, ClassesKeepTheirRowsAndNoLabelIsARowOfZeros) {
  write(default_config(), formula_weights("default"));
  auto snapshot = converted();
  EXPECT_EQ(snapshot.model.config.model.num_classes, 4);
  expect_outputs(snapshot, "default", torch::tensor({1, 3}, torch::kInt64));
  const auto rows = snapshot.model.network->named_parameters()["class_embedding.weight"];
  EXPECT_EQ(rows[4].abs().max().item<float>(), 0);
}

TEST_F(Diffusers, AttentionMayCarryTheNamesOfOldFiles) {
  checkpoint::TensorMap old;
  for (const auto& [name, tensor] : formula_weights("ddpm")) {
    std::string renamed = name;
    for (const auto& [now, then] :
         std::map<std::string, std::string>{{".to_q.", ".query."},
                                            {".to_k.", ".key."},
                                            {".to_v.", ".value."},
                                            {".to_out.0.", ".proj_attn."}}) {
      const auto at = renamed.find(now);
      if (at != std::string::npos) renamed.replace(at, now.size(), then);
    }
    old[renamed] = tensor;
  }
  write(ddpm_config(), old);
  auto snapshot = converted();
  expect_outputs(snapshot, "ddpm", {});
}

TEST_F(Diffusers, APipelinesSchedulerSetsStepsAndPrediction) {
  fs::create_directories(folder_.path() / "scheduler");
  std::ofstream(folder_.path() / "scheduler" / "scheduler_config.json")
      << Json{{"num_train_timesteps", 500},
              {"beta_schedule", "squaredcos_cap_v2"},
              {"prediction_type", "v_prediction"}};
  write(ddpm_config(), formula_weights("ddpm"));
  const auto config = converted().model.config;
  EXPECT_EQ(config.model.timesteps, 500);
  EXPECT_EQ(config.model.timestep_law, "squared_cosine");
  EXPECT_EQ(config.diffusion.prediction, "v");
  EXPECT_EQ(config.diffusion.schedule, "vp_cosine");
}

TEST_F(Diffusers, ThereAndBackIsTheSameFolder) {
  write(ddpm_config(), formula_weights("ddpm"));
  const auto config = converted().model.config;
  const fs::path out = folder_.path() / "out";
  snapshot_to_diffusers(folder_.path() / "a.safetensors", out);
  const Json json = Json::parse(std::ifstream(out / "config.json"));
  const Json original = ddpm_config();
  for (const auto& [key, value] : original.items()) EXPECT_EQ(json[key], value) << key;
  const auto tensors =
      checkpoint::read_safetensors(out / "diffusion_pytorch_model.safetensors").tensors;
  const auto expected = formula_weights("ddpm");
  ASSERT_EQ(tensors.size(), expected.size());
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(torch::equal(tensors.at(name), tensor));
  snapshot_from_diffusers(out, folder_.path() / "b.safetensors");
  const auto again = load_snapshot(folder_.path() / "b.safetensors", torch::kCPU);
  EXPECT_EQ(again.model.config.model.timesteps, config.model.timesteps);
}

// A network of our own is told 25 (20 - log_snr), and has classes with a row for no label: both survive the way there and back.
TEST_F(Diffusers, ANetworkOfOurOwnComesBackAsItWas) {
  config::Config config;
  config.model.channels = {8, 16};
  config.model.attention = {false, true};
  config.model.norm_groups = 4;
  config.model.num_classes = 3;
  config.diffusion.schedule = "vdm_linear";
  const ScoreModel model = build_model(config, {1, 8, 8}, torch::kCPU);
  checkpoint::TensorMap tensors;
  for (const auto& [name, parameter] : named_parameters(model))
    tensors[name] = torch::full_like(parameter.detach(), 0.01) + 0.1 * parameter.detach();
  checkpoint::write_safetensors(folder_.path() / "own.safetensors", tensors,
                                snapshot_metadata(config, {1, 8, 8}, {7, "ema0.9"}));
  snapshot_to_diffusers(folder_.path() / "own.safetensors", folder_.path() / "out");
  snapshot_from_diffusers(folder_.path() / "out", folder_.path() / "back.safetensors");
  const auto there = load_snapshot(folder_.path() / "own.safetensors", torch::kCPU);
  const auto back = load_snapshot(folder_.path() / "back.safetensors", torch::kCPU);
  EXPECT_EQ(back.model.config.diffusion.schedule, "vdm_linear");
  models::NetworkInput input;
  input.x = torch::linspace(-1, 1, 64).view({1, 1, 8, 8});
  input.log_snr = torch::tensor({2.5}, torch::kFloat64);
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(
      torch::equal(there.model.network->forward(input), back.model.network->forward(input)));
}

TEST_F(Diffusers, ANetworkThatWeLackIsNamed) {
  Json json = ddpm_config();
  json["act_fn"] = "gelu";
  EXPECT_THAT(refusal<ConfigError>(json),
              testing::AllOf(HasSubstr("act_fn = \"gelu\""), HasSubstr("\"silu\"")));
  json = ddpm_config();
  json["up_block_types"] = {"UpBlock2D", "UpBlock2D"};
  EXPECT_THAT(refusal<ConfigError>(json), HasSubstr("up_block_types"));
  json = ddpm_config();
  json["down_block_types"][0] = "SkipDownBlock2D";
  EXPECT_THAT(refusal<ConfigError>(json), HasSubstr("SkipDownBlock2D"));
  json = ddpm_config();
  json["layers_per_block"] = 2;
  EXPECT_THAT(refusal<CheckpointError>(json), HasSubstr("is missing"));
}

TEST_F(Diffusers, AFolderWithoutConfigIsNamed) {
  try {
    snapshot_from_diffusers(folder_.path(), folder_.path() / "a.safetensors");
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(HasSubstr("config.json"), HasSubstr("save_pretrained")));
  }
}

}  // namespace
}  // namespace scorenet::train
