// Conversion from and to diffusers' folders. The weights follow a formula, and the expected outputs
// were computed by diffusers itself (tests/models/data/make_unet2d_reference.py).
#include "framework/score/diffusers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/checkpoint/safetensors.hpp"
#include "framework/config/validate.hpp"
#include "framework/core/error.hpp"
#include "framework/diffusion/discrete_steps.hpp"
#include "framework/diffusion/sampler/trained_steps.hpp"
#include "framework/score/numbered_steps.hpp"
#include "framework/score/snapshot.hpp"
#include "models/score_network.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::score {
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

// The parameters of diffusers' network with the formula's weights, by the list that
// diffusers wrote.
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
  return {{"_class_name", "UNet2DModel"},
          {"sample_size", {6, 10}},
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

Json scheduler(const Json& keys = Json::object()) {
  Json json = {{"_class_name", "DDPMScheduler"}};
  json.update(keys);
  return json;
}

class Diffusers : public testing::Test {
 protected:
  void write(const Json& config, const checkpoint::TensorMap& tensors) {
    write_text("config.json", config.dump());
    checkpoint::write_safetensors(folder_.path() / "diffusion_pytorch_model.safetensors", tensors);
    write_scheduler(scheduler().dump());
  }
  void write_text(const fs::path& name, const std::string& text) {
    fs::create_directories((folder_.path() / name).parent_path());
    std::ofstream(folder_.path() / name) << text;
  }
  void write_scheduler(const std::string& text) {
    write_text(fs::path("scheduler") / "scheduler_config.json", text);
  }
  // The message of a conversion that must fail and leave nothing.
  template <class Failure>
  std::string failure() {
    fs::remove(folder_.path() / "a.safetensors");
    try {
      converted();
    } catch (const Failure& error) {
      EXPECT_FALSE(fs::exists(folder_.path() / "a.safetensors"));
      return error.what();
    }
    return "no error";
  }
  LoadedSnapshot converted() {
    snapshot_from_diffusers(folder_.path(), folder_.path() / "a.safetensors");
    return load_snapshot(folder_.path() / "a.safetensors", torch::kCPU);
  }
  template <class Failure>
  std::string refusal(const Json& config) {
    write(config, formula_weights("ddpm"));
    return failure<Failure>();
  }
  // Of this network with that scheduler.
  std::string scheduler_refusal(const Json& keys) {
    write(ddpm_config(), formula_weights("ddpm"));
    write_scheduler(keys.dump());
    return failure<ConfigError>();
  }
  config::Config with_scheduler(const Json& keys) {
    write(ddpm_config(), formula_weights("ddpm"));
    write_scheduler(keys.dump());
    return converted().model.config;
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
  input.given.labels = labels;
  const torch::NoGradGuard no_grad;
  const auto y = snapshot.model.trained().network->forward(input).flatten();
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
  EXPECT_EQ(snapshot.model.config.diffusion.schedule.name, "vp_linear");
  expect_outputs(snapshot, "ddpm", {});
}

TEST_F(Diffusers, ClassesKeepTheirRowsAndNoLabelIsARowOfZeros) {
  write(default_config(), formula_weights("default"));
  auto snapshot = converted();
  EXPECT_EQ(snapshot.model.config.model.num_classes, 4);
  expect_outputs(snapshot, "default", torch::tensor({1, 3}, torch::kInt64));
  const auto rows = snapshot.model.trained().network->named_parameters()["class_embedding.weight"];
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
  const auto config = with_scheduler(scheduler({{"num_train_timesteps", 500},
                                                {"beta_schedule", "squaredcos_cap_v2"},
                                                {"prediction_type", "v_prediction"}}));
  EXPECT_EQ(config.model.numbered.steps, 500);
  EXPECT_EQ(config.model.numbered.law, "squared_cosine");
  EXPECT_EQ(config.diffusion.prediction, "v");
  EXPECT_EQ(config.diffusion.schedule.name, "vp_cosine");
}

TEST_F(Diffusers, ThereAndBackIsTheSameFolder) {
  write(ddpm_config(), formula_weights("ddpm"));
  const auto config = converted().model.config;
  const fs::path out = folder_.path() / "out";
  snapshot_to_diffusers(folder_.path() / "a.safetensors", out);
  const Json json = Json::parse(std::ifstream(out / "unet" / "config.json"));
  const Json original = ddpm_config();
  for (const auto& [key, value] : original.items()) EXPECT_EQ(json[key], value) << key;
  const auto tensors =
      checkpoint::read_safetensors(out / "unet" / "diffusion_pytorch_model.safetensors").tensors;
  const auto expected = formula_weights("ddpm");
  ASSERT_EQ(tensors.size(), expected.size());
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(torch::equal(tensors.at(name), tensor));
  snapshot_from_diffusers(out, folder_.path() / "b.safetensors");
  const auto again = load_snapshot(folder_.path() / "b.safetensors", torch::kCPU);
  EXPECT_EQ(again.model.config.model.numbered.steps, config.model.numbered.steps);
}

// A network of our own is told 25 (20 - log_snr), and has classes with a row for no label: both
// survive the way there and back.
config::Config own_config() {
  config::Config config;
  config.model.unet.channels = {8, 16};
  config.model.unet.attention = {false, true};
  config.model.unet.norm_groups = 4;
  config.diffusion.schedule.name = "vdm_linear";
  return config;
}

void write_own(const fs::path& path, const config::Config& config) {
  const ScoreModel model = build_model(config, {1, 8, 8}, torch::kCPU);
  checkpoint::TensorMap tensors;
  for (const auto& [name, parameter] : named_parameters(model))
    tensors[name] = torch::full_like(parameter.detach(), 0.01) + 0.1 * parameter.detach();
  checkpoint::write_safetensors(path, tensors, snapshot_metadata(config, {1, 8, 8}, {7, "ema0.9"}));
}

TEST_F(Diffusers, ANetworkOfOurOwnComesBackAsItWas) {
  config::Config config = own_config();
  config.model.num_classes = 3;
  write_own(folder_.path() / "own.safetensors", config);
  snapshot_to_diffusers(folder_.path() / "own.safetensors", folder_.path() / "out");
  snapshot_from_diffusers(folder_.path() / "out", folder_.path() / "back.safetensors");
  const auto there = load_snapshot(folder_.path() / "own.safetensors", torch::kCPU);
  const auto back = load_snapshot(folder_.path() / "back.safetensors", torch::kCPU);
  EXPECT_EQ(back.model.config.diffusion.schedule.name, "vdm_linear");
  for (const auto& [name, parameter] : named_parameters(there.model)) {
    const auto same = named_parameters(back.model);
    const auto found = std::find_if(same.begin(), same.end(),
                                    [&](const auto& other) { return other.first == name; });
    EXPECT_TRUE(torch::equal(found->second, parameter)) << name;
  }
  models::NetworkInput input;
  input.x = torch::linspace(-1, 1, 64).view({1, 1, 8, 8});
  input.log_snr = torch::tensor({2.5}, torch::kFloat64);
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::equal(there.model.trained().network->forward(input),
                           back.model.trained().network->forward(input)));
}

// DDPMPipeline tells it the number of the step i, whose log-SNR is clean - i / 25: with the turned
// layer it computes what it computes of that log-SNR here.
TEST_F(Diffusers, ANetworkThatIsToldTheLogSnrIsToldStepsThere) {
  for (const bool cosines_first : {true, false}) {
    config::Config config = own_config();
    config.model.unet.cosines_first = cosines_first;
    config.diffusion.prediction = "v";
    const fs::path own = folder_.path() / "own.safetensors", out = folder_.path() / "out";
    write_own(own, config);
    fs::remove_all(out);
    snapshot_to_diffusers(own, out);
    EXPECT_FALSE(fs::exists(out / "pipeline.py"));
    EXPECT_EQ(Json::parse(std::ifstream(out / "model_index.json"))["_class_name"], "DDPMPipeline");
    const Json steps = Json::parse(std::ifstream(out / "scheduler" / "scheduler_config.json"));
    const auto betas = steps["trained_betas"].get<std::vector<double>>();
    // vdm_linear from log_snr 13.3 to -5 has 18.3 nats of 25 steps each.
    ASSERT_EQ(betas.size(), 458u);
    EXPECT_EQ(steps["num_train_timesteps"], 458);
    EXPECT_EQ(steps["prediction_type"], "v_prediction");
    double left = 1;
    for (size_t i = 0; i <= 300; ++i) left *= 1 - betas[i];
    EXPECT_NEAR(std::log(left / (1 - left)), 13.3 - 300 / 25.0, 1e-3);

    const auto original = load_snapshot(own, torch::kCPU), turned = load_snapshot(own, torch::kCPU);
    auto weights = checkpoint::read_safetensors(out / "unet/diffusion_pytorch_model.safetensors");
    weights.tensors.erase("scorenet.time_embedding.linear_1.weight");
    fill_weights(turned.model, weights.tensors, out);
    models::NetworkInput there, here;
    there.x = here.x = torch::linspace(-1, 1, 64).view({1, 1, 8, 8});
    there.log_snr = torch::tensor({20 - 300 / 25.0}, torch::kFloat64);  // coordinate 300
    here.log_snr = torch::tensor({13.3 - 300 / 25.0}, torch::kFloat64);
    const torch::NoGradGuard no_grad;
    const auto expected = original.model.trained().network->forward(here);
    EXPECT_TRUE(torch::allclose(turned.model.trained().network->forward(there), expected, 1e-4,
                                1e-5 * expected.abs().max().item<double>()));
  }
}

TEST_F(Diffusers, WhatNoUNet2DModelIsIsNotExported) {
  const auto refused = [&](const config::Config& config) {
    const fs::path own = folder_.path() / "own.safetensors";
    write_own(own, config);
    try {
      snapshot_to_diffusers(own, folder_.path() / "out");
    } catch (const CheckpointError& error) {
      EXPECT_FALSE(fs::exists(folder_.path() / "out"));
      return std::string(error.what());
    }
    return std::string("no error");
  };
  config::Config config = own_config();
  config.model.unet.attention = {true, true};
  config.model.unet.residual_resampling = {true, false};
  EXPECT_THAT(refused(config), HasSubstr("has one downsample_type for all of them"));
  config = own_config();
  config.model.unet.mid_norm_groups = 0;
  EXPECT_THAT(refused(config), HasSubstr("without scale_shift always has that norm"));
}

TEST_F(Diffusers, WhereNoSchedulerServesAPipelineOfOurOwnDoes) {
  config::Config config = own_config();
  Json index;
  const auto exported = [&] {
    const fs::path own = folder_.path() / "own.safetensors", out = folder_.path() / "out";
    write_own(own, config);
    fs::remove_all(out);
    snapshot_to_diffusers(own, out);
    std::ostringstream text;
    text << std::ifstream(out / "pipeline.py").rdbuf();
    index = Json::parse(std::ifstream(out / "model_index.json"));
    return text.str();
  };
  config.model.num_classes = 3;
  EXPECT_THAT(exported(), testing::AllOf(HasSubstr("NO_LABEL = 3"), HasSubstr("LEVELS = None")));
  EXPECT_EQ(index["_class_name"], "DDPMPipeline");
  config.model.num_classes = 0;
  config.diffusion.prediction = "F";
  config.diffusion.schedule.name = "edm";
  EXPECT_THAT(exported(),
              testing::AllOf(HasSubstr("PREDICTION = \"F\""), HasSubstr("NO_LABEL = None"),
                             HasSubstr("PRIOR_DEVIATION = 80.0"),
                             // sigma = 80: 25 (20 + 2 log 80)
                             HasSubstr("(719.101"), HasSubstr(", 1, 80)")));
  EXPECT_EQ(index["_class_name"], Json::parse(R"(["pipeline", "ScorenetPipeline"])"));
  EXPECT_FALSE(fs::exists(folder_.path() / "out" / "scheduler"));
}

Json adm_config() {
  Json json = default_config();
  json["resnet_time_scale_shift"] = "scale_shift";
  json["down_block_types"] = {"ResnetDownsampleBlock2D", "AttnDownBlock2D"};
  json["up_block_types"] = {"AttnUpBlock2D", "ResnetUpsampleBlock2D"};
  json["downsample_type"] = "resnet";
  json["upsample_type"] = "resnet";
  return json;
}

TEST_F(Diffusers, ADMsBlocksComeAndGo) {
  for (const std::string tag : {"adm", "adm_norm"}) {
    Json json = adm_config();
    if (tag == "adm_norm") json["attn_norm_num_groups"] = 8;
    write(json, formula_weights(tag));
    auto snapshot = converted();
    expect_outputs(snapshot, tag, torch::tensor({1, 3}, torch::kInt64));
    fs::remove_all(folder_.path() / "out");
    snapshot_to_diffusers(folder_.path() / "a.safetensors", folder_.path() / "out");
    const Json back = Json::parse(std::ifstream(folder_.path() / "out/unet/config.json"));
    json["num_class_embeds"] = 5;  // and "no label"
    for (const auto& [key, value] : json.items()) EXPECT_EQ(back[key], value) << key;
  }
  Json json = default_config();
  json.erase("num_class_embeds");
  json["add_attention"] = false;
  write(json, formula_weights("no_middle"));
  auto snapshot = converted();
  expect_outputs(snapshot, "no_middle", {});
}

TEST_F(Diffusers, BlocksThatWeLackAreNamedWithTheirPlaceAndWhatTheyAre) {
  const auto refused = [&](const char* key, const Json& value, Json json = adm_config()) {
    json[key] = value;
    return refusal<ConfigError>(json);
  };
  EXPECT_THAT(refused("down_block_types", {"DownBlock2D", "AttnSkipDownBlock2D"}),
              HasSubstr("Block 2, AttnSkipDownBlock2D, is NCSN++'s"));
  EXPECT_THAT(refused("up_block_types", {"CrossAttnUpBlock2D", "UpBlock2D"}),
              HasSubstr("Block 1, CrossAttnUpBlock2D, attends to a text"));
  EXPECT_THAT(refused("down_block_types", {"KDownBlock2D", "DownBlock2D"}),
              HasSubstr("the k-upscaler's"));
  EXPECT_THAT(refused("down_block_types", {"NewBlock2D", "DownBlock2D"}),
              HasSubstr("NewBlock2D, is none that this program has"));
  EXPECT_THAT(refused("downsample_type", "avg"), HasSubstr("expected \"conv\" or \"resnet\""));
  EXPECT_THAT(refused("resnet_time_scale_shift", "ada_group"), HasSubstr("scale_shift"));
  // Of three levels the middle one halves by a convolution and doubles in a block.
  Json json = adm_config();
  json["block_out_channels"] = {8, 8, 16};
  json["down_block_types"] = {"DownBlock2D", "DownBlock2D", "DownBlock2D"};
  EXPECT_THAT(refused("up_block_types", {"UpBlock2D", "ResnetUpsampleBlock2D", "UpBlock2D"}, json),
              HasSubstr("level by level the same attention and resampling"));
}

TEST_F(Diffusers, ANetworkThatWeLackIsNamed) {
  Json json = ddpm_config();
  json["act_fn"] = "gelu";
  EXPECT_THAT(refusal<ConfigError>(json),
              testing::AllOf(HasSubstr("config.json, key \"act_fn\": found \"gelu\""),
                             HasSubstr("expected \"silu\"")));
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

TEST_F(Diffusers, EveryValueOfAnotherTypeIsNamedWithFileAndKey) {
  const Json values[] = {nullptr, "1", true, 1.5, Json::array({"a"}), Json::object()};
  Json good = ddpm_config();
  good["num_class_embeds"] = 4;
  good["dropout"] = 0.1;
  for (const auto& [key, unused] : good.items()) {
    for (const Json& value : values) {
      // What diffusers writes for "no value", and what is one.
      if (value.is_null() && (key == "attention_head_dim" || key == "num_class_embeds")) continue;
      if (value.is_boolean() && key == "flip_sin_to_cos") continue;
      Json json = good;
      json[key] = value;
      write(json, {{"a", torch::zeros({1})}});
      EXPECT_THAT(failure<ConfigError>(), testing::AllOf(HasSubstr("config.json, key \"" + key +
                                                                   "\": found " + value.dump()),
                                                         HasSubstr("expected")))
          << key << " " << value;
    }
  }
}

// A UNet2DModel of no fixed size: nobody can know what to sample, so the one who converts has
// to say it.
TEST_F(Diffusers, WithoutASampleSizeTheUserIsAskedToWriteIt) {
  Json json = ddpm_config();
  const auto asks = [](const std::string& found) {
    return testing::AllOf(HasSubstr("config.json, key \"sample_size\": found " + found),
                          HasSubstr("expected a whole number or [height, width]"),
                          HasSubstr("Write there the size of the images"));
  };
  json["sample_size"] = nullptr;
  EXPECT_THAT(refusal<ConfigError>(json), asks("null"));
  json.erase("sample_size");
  EXPECT_THAT(refusal<ConfigError>(json), asks("no such key"));
  json["sample_size"] = 12;
  write(json, formula_weights("ddpm"));
  EXPECT_EQ(converted().example_shape, (std::vector<int64_t>{2, 12, 12}));
}

TEST_F(Diffusers, AConfigThatIsNoObjectOrNoJsonIsNamed) {
  write(ddpm_config(), formula_weights("ddpm"));
  write_text("config.json", "[1, 2]");
  EXPECT_THAT(failure<ConfigError>(), HasSubstr("expected an object"));
  write_text("config.json", "{\"act_fn\": ");
  EXPECT_THAT(failure<CheckpointError>(), HasSubstr("config.json: is not JSON"));
}

TEST_F(Diffusers, UnknownKeysAreRefusedAndNotesPassedOver) {
  Json json = ddpm_config();
  json["_note"] = 1;
  json["mystery"] = 1;
  EXPECT_THAT(refusal<ConfigError>(json), HasSubstr("key \"mystery\""));
  EXPECT_THAT(scheduler_refusal(scheduler({{"mystery", 1}})), HasSubstr("key \"mystery\""));
}

TEST_F(Diffusers, NetworksOfOtherClassesAreRefused) {
  for (const char* name : {"UNet2DConditionModel", "DiTTransformer2DModel", "Unet"}) {
    Json json = ddpm_config();
    json["_class_name"] = name;
    EXPECT_THAT(refusal<ConfigError>(json),
                testing::AllOf(HasSubstr("\"_class_name\": found \"" + std::string(name)),
                               HasSubstr("expected \"UNet2DModel\"")));
  }
}

TEST_F(Diffusers, AFolderWithoutASchedulerIsNotGuessed) {
  write(ddpm_config(), formula_weights("ddpm"));
  fs::remove_all(folder_.path() / "scheduler");
  EXPECT_THAT(
      failure<CheckpointError>(),
      testing::AllOf(HasSubstr("scheduler_config.json: no such file"), HasSubstr("Add the one")));
  // Beside the network it counts as well.
  write_text("scheduler_config.json", scheduler({{"num_train_timesteps", 50}}).dump());
  EXPECT_EQ(converted().model.config.model.numbered.steps, 50);
}

TEST_F(Diffusers, SchedulersOfAnotherLawAreRefusedByName) {
  for (const char* name :
       {"FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler",
        "ScoreSdeVeScheduler", "ScoreSdeVpScheduler", "CMStochasticIterativeScheduler",
        "LCMScheduler", "KarrasVeScheduler", "NewScheduler", ""}) {
    EXPECT_THAT(scheduler_refusal({{"_class_name", name}}),
                testing::AllOf(HasSubstr("scheduler_config.json, key \"_class_name\": found \"" +
                                         std::string(name)),
                               HasSubstr("DDIMScheduler")));
  }
  EXPECT_THAT(scheduler_refusal(Json::object()), HasSubstr("found no such key"));
  EXPECT_THAT(scheduler_refusal({{"_class_name", nullptr}}), HasSubstr("found null"));
}

TEST_F(Diffusers, EverySchedulerOfDdpmsLawGivesTheSameNetwork) {
  const auto expected = with_scheduler(scheduler()).model;
  for (const char* name :
       {"DDIMScheduler", "DDPMParallelScheduler", "DDIMParallelScheduler", "PNDMScheduler",
        "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DEISMultistepScheduler",
        "UniPCMultistepScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
        "LMSDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler"}) {
    const auto model =
        with_scheduler({{"_class_name", name}, {"beta_start", 1e-4}, {"beta_end", 0.02}}).model;
    EXPECT_EQ(model.numbered.law, expected.numbered.law) << name;
    EXPECT_EQ(model.numbered.beta_max, expected.numbered.beta_max) << name;
  }
  // Defaults that differ.
  EXPECT_EQ(with_scheduler({{"_class_name", "HeunDiscreteScheduler"}}).model.numbered.beta_max,
            0.012);
}

TEST_F(Diffusers, OptionsThatMakeAnotherLawAreRefused) {
  const Json cases[] = {{{"rescale_betas_zero_snr", true}},
                        {{"thresholding", true}},
                        {{"use_flow_sigmas", true}},
                        {{"timestep_type", "continuous"}},
                        {{"predict_epsilon", false}},
                        {{"prediction_type", "flow_prediction"}},
                        {{"prediction_type", nullptr}},
                        {{"beta_schedule", "laplace"}},
                        {{"beta_start", "0.1"}},
                        {{"beta_start", 0.5}},
                        {{"beta_end", 1.5}},
                        {{"num_train_timesteps", 1}},
                        {{"num_train_timesteps", 1e9}},
                        {{"num_train_timesteps", 1000000000}},
                        {{"variance_type", "learned"}},
                        {{"variance_type", "learned_range"}},
                        {{"timestep_spacing", "karras"}},
                        {{"steps_offset", -1}},
                        {{"clip_sample", 1}},
                        {{"trained_betas", {0.1, "a"}}},
                        {{"trained_betas", Json::array()}}};
  for (const Json& keys : cases) {
    const std::string key = keys.begin().key() == "beta_start" && keys["beta_start"] == 0.5
                                ? "beta_end"
                                : keys.begin().key();
    EXPECT_THAT(scheduler_refusal(scheduler(keys)),
                testing::AllOf(HasSubstr("scheduler_config.json, key \"" + key + "\": found"),
                               HasSubstr("expected")))
        << keys;
  }
}

TEST_F(Diffusers, BetasThatAreWrittenOutAreTakenWhereTheyAreALaws) {
  for (const auto& [ours, theirs] :
       std::map<std::string, std::string>{{"linear", "linear"},
                                          {"scaled_linear", "scaled_linear"},
                                          {"squared_cosine", "squaredcos_cap_v2"},
                                          {"sigmoid", "sigmoid"}}) {
    Json betas = Json::array();
    for (const double beta : diffusion::betas_of_steps({100, ours, 0.001, 0.03}))
      betas.push_back(static_cast<float>(beta));
    const Json keys = scheduler({{"num_train_timesteps", 100}, {"trained_betas", betas}});
    const auto model = with_scheduler(keys).model;
    EXPECT_EQ(model.numbered.law, ours);
    if (ours != "squared_cosine") {
      EXPECT_NEAR(model.numbered.beta_max, 0.03, 1e-6) << ours;
    }
    Json other = keys;
    other["trained_betas"][50] = 1.001 * betas[50].get<double>();
    EXPECT_THAT(scheduler_refusal(other), HasSubstr("trained_betas")) << ours;
    other["trained_betas"] = betas;
    other["num_train_timesteps"] = 99;
    EXPECT_THAT(scheduler_refusal(other), HasSubstr("as many as num_train_timesteps"));
  }
}

TEST_F(Diffusers, PythonsInfinityIsReadAsNothing) {
  write(ddpm_config(), formula_weights("ddpm"));
  write_scheduler(R"({"_class_name": "DPMSolverMultistepScheduler", "_note": "a \"NaN\" stays",)"
                  R"( "lambda_min_clipped": -Infinity, "sigma_max": NaN, "variance_type": null})");
  EXPECT_EQ(converted().model.config.model.numbered.steps, 1000);
}

TEST_F(Diffusers, AConvertedConfigHasNoProblems) {
  write(default_config(), formula_weights("default"));
  const auto config = converted().model.config;
  EXPECT_THAT(config::problems(config, 1), testing::IsEmpty());
  EXPECT_TRUE(config.data.labels);
}

TEST_F(Diffusers, APipelinesFolderAndItsUnetAreTheSame) {
  write_text("unet/config.json", ddpm_config().dump());
  checkpoint::write_safetensors(folder_.path() / "unet" / "diffusion_pytorch_model.safetensors",
                                formula_weights("ddpm"));
  write_scheduler(scheduler({{"num_train_timesteps", 50}}).dump());
  const Json index = {{"_class_name", "DDPMPipeline"},
                      {"unet", {"diffusers", "UNet2DModel"}},
                      {"scheduler", {"diffusers", "DDPMScheduler"}}};
  write_text("model_index.json", index.dump());
  EXPECT_EQ(converted().model.config.model.numbered.steps, 50);
  snapshot_from_diffusers(folder_.path() / "unet", folder_.path() / "b.safetensors");
  EXPECT_EQ(load_snapshot(folder_.path() / "b.safetensors", torch::kCPU)
                .model.config.model.numbered.steps,
            50);
  Json latent = index;
  latent["vqvae"] = {"diffusers", "VQModel"};
  write_text("model_index.json", latent.dump());
  fs::remove(folder_.path() / "a.safetensors");
  EXPECT_THAT(failure<ConfigError>(), HasSubstr("\"vqvae\""));
}

TEST_F(Diffusers, WeightsOfAVariantAreReadAsFloat32) {
  write(ddpm_config(), {{"a", torch::zeros({1})}});
  fs::remove(folder_.path() / "diffusion_pytorch_model.safetensors");
  checkpoint::TensorMap half;
  for (const auto& [name, tensor] : formula_weights("ddpm")) half[name] = tensor.to(torch::kHalf);
  checkpoint::write_safetensors(folder_.path() / "diffusion_pytorch_model.fp16.safetensors", half);
  auto snapshot = converted();
  for (const auto& [name, parameter] : named_parameters(snapshot.model))
    EXPECT_TRUE(torch::equal(parameter.detach(), half.at(name).to(torch::kFloat32))) << name;
  checkpoint::write_safetensors(folder_.path() / "diffusion_pytorch_model.bf16.safetensors", half);
  fs::remove(folder_.path() / "a.safetensors");
  EXPECT_THAT(failure<CheckpointError>(),
              testing::AllOf(HasSubstr("several variants"), HasSubstr("bf16"), HasSubstr("fp16")));
}

TEST_F(Diffusers, ShardsAreReadThroughTheirIndex) {
  for (const std::string variant : {"", "fp16."}) {
    write(ddpm_config(), {{"a", torch::zeros({1})}});
    fs::remove(folder_.path() / "diffusion_pytorch_model.safetensors");
    fs::remove(folder_.path() / "a.safetensors");
    checkpoint::TensorMap shards[2];
    Json map = Json::object();
    const std::string stem = "diffusion_pytorch_model" +
                             (variant.empty() ? "" : "." + variant.substr(0, variant.size() - 1));
    const std::string names[] = {stem + "-00001-of-00002.safetensors",
                                 stem + "-00002-of-00002.safetensors"};
    size_t k = 0;
    for (const auto& [name, tensor] : formula_weights("ddpm")) {
      shards[k % 2][name] = tensor;
      map[name] = names[k++ % 2];
    }
    const Json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", map}};
    const std::string index_name = "diffusion_pytorch_model.safetensors.index." + variant + "json";
    write_text(index_name, index.dump());
    checkpoint::write_safetensors(folder_.path() / names[0], shards[0]);
    EXPECT_THAT(failure<CheckpointError>(), HasSubstr(names[1]));
    checkpoint::TensorMap short_of_one = shards[1];
    short_of_one.erase(short_of_one.begin());
    checkpoint::write_safetensors(folder_.path() / names[1], short_of_one);
    EXPECT_THAT(failure<CheckpointError>(),
                testing::AllOf(HasSubstr(shards[1].begin()->first), HasSubstr("is missing")));
    checkpoint::write_safetensors(folder_.path() / names[1], shards[1]);
    auto snapshot = converted();
    expect_outputs(snapshot, "ddpm", {});
    fs::remove(folder_.path() / "a.safetensors");
    Json elsewhere = index;
    elsewhere["weight_map"][shards[0].begin()->first] = "../" + names[0];
    write_text(index_name, elsewhere.dump());
    EXPECT_THAT(failure<ConfigError>(), HasSubstr("in the same folder"));
    for (const std::string& name : {names[0], names[1], index_name})
      fs::remove(folder_.path() / name);
  }
}

TEST_F(Diffusers, PicklesArePointedToTheLineThatConvertsThem) {
  write(ddpm_config(), {{"a", torch::zeros({1})}});
  fs::remove(folder_.path() / "diffusion_pytorch_model.safetensors");
  EXPECT_THAT(failure<CheckpointError>(), HasSubstr("no such file"));
  write_text("diffusion_pytorch_model.bin", "PK");
  EXPECT_THAT(failure<CheckpointError>(),
              testing::AllOf(HasSubstr("model.bin: is a pickle"), HasSubstr("save_pretrained(d)")));
  write_text("diffusion_pytorch_model.safetensors",
             "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 454741108\n");
  EXPECT_THAT(failure<CheckpointError>(), HasSubstr("git lfs pull"));
}

TEST_F(Diffusers, WeightsThatDoNotFitAreNamed) {
  auto tensors = formula_weights("ddpm");
  tensors["num_batches_tracked"] = torch::zeros({}, torch::kInt64);
  write(ddpm_config(), tensors);
  EXPECT_THAT(failure<CheckpointError>(), HasSubstr("'num_batches_tracked'"));
  tensors["num_batches_tracked"] = torch::zeros({3});
  write(ddpm_config(), tensors);
  EXPECT_THAT(failure<CheckpointError>(), HasSubstr("'num_batches_tracked'"));
  tensors = formula_weights("ddpm");
  tensors["conv_in.bias"][1] = NAN;
  write(ddpm_config(), tensors);
  EXPECT_THAT(failure<NotFiniteError>(), HasSubstr("'conv_in.bias'"));
  // A size that the file does not have is seen before a network of that size is built.
  Json json = ddpm_config();
  json["block_out_channels"] = {8, 65536};
  EXPECT_THAT(refusal<CheckpointError>(json), HasSubstr("down_blocks.1.resnets.0.conv1.weight"));
}

TEST_F(Diffusers, ANetworkThatSaysItsVarianceKeepsIt) {
  auto tensors = formula_weights("ddpm");
  tensors["conv_out.weight"] = torch::cat({tensors["conv_out.weight"], tensors["conv_out.weight"]});
  tensors["conv_out.bias"] = torch::cat({tensors["conv_out.bias"], tensors["conv_out.bias"]});
  Json json = ddpm_config();
  json["out_channels"] = 4;
  write(json, tensors);
  EXPECT_THAT(failure<ConfigError>(), HasSubstr("\"variance_type\""));
  write_scheduler(scheduler({{"variance_type", "learned_range"}}).dump());
  const auto config = converted().model.config;
  EXPECT_EQ(config.diffusion.loss, "hybrid");
  EXPECT_THAT(config::problems(config, 1), testing::IsEmpty());
  snapshot_to_diffusers(folder_.path() / "a.safetensors", folder_.path() / "out");
  EXPECT_EQ(Json::parse(std::ifstream(folder_.path() / "out/unet/config.json"))["out_channels"], 4);
}

TEST_F(Diffusers, TheSchedulerComesBackAsItWent) {
  const Json keys = {{"_class_name", "PNDMScheduler"},    {"beta_schedule", "sigmoid"},
                     {"timestep_spacing", "linspace"},    {"steps_offset", 1},
                     {"set_alpha_to_one", false},         {"clip_sample", false},
                     {"prediction_type", "v_prediction"}, {"variance_type", "fixed_large"},
                     {"num_train_timesteps", 77}};
  with_scheduler(keys);
  const fs::path out = folder_.path() / "out",
                 file = fs::path("scheduler") / "scheduler_config.json";
  snapshot_to_diffusers(folder_.path() / "a.safetensors", out);
  EXPECT_EQ(Json::parse(std::ifstream(out / file)), keys);
  snapshot_from_diffusers(out, folder_.path() / "b.safetensors");
  snapshot_to_diffusers(folder_.path() / "b.safetensors", folder_.path() / "again");
  EXPECT_EQ(Json::parse(std::ifstream(folder_.path() / "again" / file)), keys);
}

// Sines of two rows of different frequencies: make_ddim_reference.py's start (phase 0) and noise
// (1, 2, ...).
torch::Tensor wave(int64_t phase) {
  const auto i = torch::arange(2 * 2 * 6 * 10, torch::kFloat64);
  const auto p = static_cast<double>(phase);
  return (1.4 * ((0.9 + 0.1 * p) * i + 0.5 * p).sin()).view({2, 2, 6, 10}).to(torch::kFloat32);
}

struct DdimCase {
  const char* name;
  Json scheduler;
  int64_t steps;
  double eta;
};

// The samples of diffusers' own DDIMScheduler, whatever its choices.
TEST_F(Diffusers, TrainedStepsLeadWhereDDIMSchedulerLeads) {
  const DdimCase cases[] = {
      {"default", Json::object(), 10, 0},
      {"noise", Json::object(), 10, 1},
      {"first", {{"clip_sample", false}, {"set_alpha_to_one", false}, {"steps_offset", 1}}, 7, 0},
      {"trailing",
       {{"timestep_spacing", "trailing"},
        {"prediction_type", "v_prediction"},
        {"clip_sample_range", 2.0}},
       6,
       0.5},
      {"linspace",
       {{"timestep_spacing", "linspace"},
        {"beta_schedule", "scaled_linear"},
        {"prediction_type", "sample"},
        {"num_train_timesteps", 900}},
       6,
       0},
      {"cosine", {{"beta_schedule", "squaredcos_cap_v2"}, {"clip_sample", false}}, 9, 1}};
  for (const DdimCase& c : cases) {
    Json keys = c.scheduler;
    keys["_class_name"] = "DDIMScheduler";
    with_scheduler(keys);
    const auto model = load_snapshot(folder_.path() / "a.safetensors", torch::kCPU).model;
    diffusion::SamplerOptions options;
    options.name = "ddim";
    options.steps = c.steps;
    options.eta = c.eta;
    const auto x =
        diffusion::sample_trained_steps(denoiser_for(model), trained_steps_of(model), options,
                                        wave(0), [](int64_t k) { return wave(k + 1); })
            .x.flatten();
    std::ifstream numbers(reference("ddim_" + std::string(c.name) + ".txt"));
    auto expected = torch::full_like(x, NAN);
    for (int64_t i = 0; i < x.numel(); ++i) {
      double value = NAN;
      numbers >> value;
      expected[i] = value;
    }
    // The network computes in float32, and the CPU's kernels in other orders than diffusers': the
    // rounding is in proportion to the largest values.
    const auto size = std::max(1.0, expected.abs().max().item<double>());
    const auto distance = (x - expected).abs().max().item<double>();
    EXPECT_LE(distance, 5e-5 * size) << c.name;  // false for NaN
  }
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
}  // namespace scorenet::score
