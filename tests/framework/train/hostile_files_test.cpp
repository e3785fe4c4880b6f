// Networks, configs and run folders by somebody who means harm, or by a broken disk: an error of
// the documented kind, whatever stands in them, and no damage that a digest shows is taken.
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <filesystem>
#include <functional>

#include "framework/checkpoint/digests.hpp"
#include "framework/checkpoint/manifest.hpp"
#include "framework/comm/single_communicator.hpp"
#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/evaluate/feature_extractor.hpp"
#include "framework/evaluate/generate.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/score/classifier.hpp"
#include "framework/score/diffusers.hpp"
#include "framework/score/diffusers_scheduler.hpp"
#include "framework/score/ema_reconstruction.hpp"
#include "framework/score/json_keys.hpp"
#include "framework/score/mixture_file.hpp"
#include "framework/score/numbered_steps.hpp"
#include "framework/score/snapshot.hpp"
#include "framework/train/trainer.hpp"
#include "tests/support/expect_error.hpp"
#include "tests/support/mutate.hpp"
#include "tests/support/temporary_folder.hpp"

namespace scorenet::train {
namespace {

namespace fs = std::filesystem;
using test::Hostile;
using test::Json;
using test::Mutator;
using test::write_bytes;

struct Network {
  config::Config config;
  std::vector<int64_t> shape;
  std::string weights = "emastd0.1";
};

config::Config config_of(const std::string& text) { return config::parse_text(text, "here"); }

// One of each kind, as small as it can be.
std::vector<Network> networks() {
  const std::string unet =
      "[model]\nchannels = [4, 8]\nattention_head_dim = 4\nlayers_per_block = 1\nnorm_groups = 2\n";
  const std::string mlp = "[model]\ntype = \"mlp\"\nhidden = [8]\n";
  return {
      {config_of(mlp), {2}},
      {config_of(mlp + "num_classes = 3\n[data]\nlabels = true\n"), {2}},
      {config_of(mlp + "[diffusion]\nschedule = \"vdm_learned\"\nloss = \"uncertainty\"\n"), {2}},
      {config_of("[model]\ntype = \"classifier\"\nhidden = [8]\nnum_classes = 3\n[data]\nlabels = "
                 "true\n"),
       {2}},
      {config_of(unet), {1, 8, 8}},
      {config_of(unet + "timesteps = 10\nnum_classes = 2\n[data]\nlabels = true\n"), {2, 8, 8}},
      {config_of(unet +
                 "fourier_features = true\n[diffusion]\nloss = \"hybrid\"\ntrain_steps = 8\n"),
       {1, 8, 8}},
      {config_of(
           "[model]\ntype = \"classifier\"\nchannels = [4]\nattention_head_dim = 4\nnorm_groups = "
           "2\nlayers_per_block = 1\nnum_classes = 3\n[data]\nlabels = true\n"),
       {1, 8, 8}},
      {config_of("[model]\ntype = \"dit\"\nwidth = 8\ndepth = 1\nheads = 2\npatch_size = 4\n"),
       {1, 8, 8}}};
}

checkpoint::TensorMap weights_of(const Network& network) {
  checkpoint::TensorMap tensors;
  for (const auto& [name, tensor] :
       score::named_parameters(score::build_model(network.config, network.shape, torch::kCPU)))
    tensors[name] = tensor.detach();
  return tensors;
}

// What a verb does with a network, in the small.
void use(const score::LoadedSnapshot& snapshot) {
  config::to_toml(snapshot.model.config);
  const torch::NoGradGuard no_grad;
  if (c10::multiply_integers(snapshot.example_shape) > 4096) return;
  if (snapshot.model.is_classifier()) {
    std::vector<int64_t> one = snapshot.example_shape;
    one.insert(one.begin(), 1);
    score::classifier_features(snapshot.model, torch::zeros(one));
    return;
  }
  const auto comm = comm::make_single_communicator();
  diffusion::SamplerOptions sampler;
  sampler.steps = 2;
  const auto x =
      evaluate::generate(snapshot.model, snapshot.example_shape, {0}, sampler, {}, 1, *comm).x;
  evaluate::samples_not_finite(x, {0});
}

struct Whole {
  Network network;
  checkpoint::TensorMap tensors;
  checkpoint::Metadata metadata;
};

class HostileFiles : public testing::Test {
 protected:
  HostileFiles() {
    test::limit_memory(uint64_t{3} << 30);
    for (const Network& network : networks()) {
      wholes_.push_back(
          {network, weights_of(network),
           score::snapshot_metadata(network.config, network.shape, {12, network.weights})});
    }
    for (Whole& whole : wholes_) {
      if (whole.network.config.model.numbered.steps > 0)
        whole.metadata[score::kSchedulerText] = score::scheduler_json(whole.network.config).dump();
    }
  }
  void load_and_use() {
    const score::LoadedSnapshot snapshot = score::load_snapshot(path_, torch::kCPU);
    use(snapshot);
  }
  test::TemporaryFolder folder_{test::memory_or_disk()};
  fs::path path_ = folder_.path() / "x.safetensors";
  std::vector<Whole> wholes_;
};

bool same(const checkpoint::Safetensors& a, const checkpoint::Safetensors& b) {
  if (a.metadata != b.metadata || a.tensors.size() != b.tensors.size()) return false;
  for (const auto& [name, tensor] : a.tensors) {
    const auto other = b.tensors.find(name);
    if (other == b.tensors.end() || other->second.sizes() != tensor.sizes() ||
        other->second.scalar_type() != tensor.scalar_type() || !torch::equal(other->second, tensor))
      return false;
  }
  return true;
}

TEST_F(HostileFiles, SnapshotsWithDigestsAreTakenWholeOrNotAtAll) {
  Mutator random(1);
  Hostile hostile("digests", path_);
  for (int i = test::fuzz_count(150); i > 0; --i) {
    const Whole& whole = random.one_of(wholes_);
    score::write_snapshot(path_, whole.tensors, whole.metadata);
    const checkpoint::Safetensors before = checkpoint::read_safetensors(path_);
    write_bytes(path_, random.bytes(files::read_file(path_)));
    checkpoint::Safetensors after;
    const bool taken = hostile.takes<CheckpointError>([&] {
      score::load_snapshot(path_, torch::kCPU);
      after = checkpoint::read_safetensors(path_);
    });
    if (taken && checkpoint::has_digests(after.metadata) && !same(before, after))
      hostile.report("damage was taken");
  }
}

// The place of the header in a file's bytes.
size_t header_length(const std::string& bytes) {
  size_t length = 0;
  for (size_t i = 8; i-- > 0;) length = length << 8 | static_cast<uint8_t>(bytes[i]);
  return length;
}

std::string with_header(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(header.size() >> shift);
  return bytes + header + data;
}

TEST_F(HostileFiles, SnapshotsOfOlderVersions) {
  Mutator random(2);
  Hostile hostile("no_digests", path_);
  for (int i = test::fuzz_count(150); i > 0; --i) {
    const Whole& whole = random.one_of(wholes_);
    checkpoint::write_safetensors(path_, whole.tensors, whole.metadata);
    std::string bytes = files::read_file(path_);
    const size_t header = header_length(bytes);
    if (random.chance(2)) {
      bytes = random.bytes(bytes.substr(0, header + 8)) + bytes.substr(header + 8);
    } else {
      bytes = with_header(random.json_text(Json::parse(bytes.substr(8, header))),
                          bytes.substr(header + 8));
    }
    write_bytes(path_, bytes);
    hostile.takes<CheckpointError, NotFiniteError>([&] { load_and_use(); });
  }
}

TEST_F(HostileFiles, SnapshotsThatSomebodyWrote) {
  Mutator random(3);
  Hostile hostile("forged", path_);
  const std::vector<std::string> texts{"",
                                       "0",
                                       "-1",
                                       "abc",
                                       "1e9",
                                       "1,1",
                                       "1,8,8,8",
                                       "1,100000,1",
                                       "64",
                                       "3,8,8",
                                       "1,1,1",
                                       "9,9,9",
                                       "1,3,3",
                                       "1,65536,32767",
                                       "2147483647",
                                       "1,2,1073741823",
                                       "999999999999999999999",
                                       "emastd0.1",
                                       "continuous 1 0",
                                       "discrete",
                                       "9223372036854775807",
                                       "{\"timestep_spacing\": 3}",
                                       "[[[[",
                                       "{}"};
  for (int i = test::fuzz_count(150); i > 0; --i) {
    const Whole& whole = random.one_of(wholes_);
    auto tensors = whole.tensors;
    auto metadata = whole.metadata;
    if (random.chance(5)) {
      auto place = std::next(metadata.begin(), static_cast<long>(random.below(metadata.size())));
      place->second = random.chance(3) ? random.bytes(place->second) : random.one_of(texts);
    } else if (random.chance(6)) {
      auto place = std::next(tensors.begin(), static_cast<long>(random.below(tensors.size())));
      auto& tensor = place->second;
      switch (random.below(6)) {
        case 0:
          tensor = tensor.to(torch::kInt64);
          break;
        case 1:
          tensor = tensor.to(torch::kFloat16);
          break;
        case 2:
          tensor = torch::full_like(tensor, NAN);
          break;
        case 3:
          tensor = torch::full_like(tensor, 3e38);
          break;
        case 4:
          tensor = torch::zeros({0});
          break;
        default:
          tensors.erase(place);
      }
    } else {
      metadata["scorenet.config"] = random.toml(metadata["scorenet.config"]);
    }
    try {
      score::write_snapshot(path_, tensors, metadata);
    } catch (const CheckpointError&) {
      continue;  // no text of UTF-8
    }
    hostile.takes<CheckpointError, NotFiniteError>([&] { load_and_use(); });
    if (random.chance(4)) {
      hostile.takes<CheckpointError, NotFiniteError>(
          [&] { score::snapshot_to_diffusers(path_, folder_.path() / "foreign"); });
    }
    hostile.takes<CheckpointError, ConfigError, NotFiniteError>([&] {
      const score::LoadedSnapshot snapshot = score::load_snapshot(path_, torch::kCPU);
      score::trained_steps_of(snapshot.model);
    });
  }
}

TEST_F(HostileFiles, AveragesToPutTogether) {
  Mutator random(4);
  const Whole& whole = wholes_[0];
  const fs::path other = folder_.path() / "y.safetensors";
  auto metadata = whole.metadata;
  metadata["scorenet.weights"] = "emastd0.05";
  score::write_snapshot(other, whole.tensors, metadata);
  const std::vector<std::string> steps{"1", "12", "13", "9223372036854775807", "100000000000", "0"};
  const std::vector<std::string> widths{
      "0.05", "0.050000000000000003", "0.1",  "1e-300", "0.2799999",
      "nan",  "0.05000000000000001",  "1e-5", "0.001",  "inf"};
  Hostile hostile("ema", path_);
  for (int i = test::fuzz_count(150); i > 0; --i) {
    metadata = whole.metadata;
    metadata["scorenet.step"] = random.one_of(steps);
    metadata["scorenet.weights"] = "emastd" + random.one_of(widths);
    if (random.chance(3)) metadata["scorenet.config"] = random.toml(metadata["scorenet.config"]);
    auto tensors = whole.tensors;
    if (random.chance(5)) tensors.begin()->second = torch::full_like(tensors.begin()->second, 3e38);
    try {
      score::write_snapshot(path_, tensors, metadata);
    } catch (const CheckpointError&) {
      continue;  // no text of UTF-8
    }
    hostile.takes<CheckpointError, NotFiniteError, ConfigError>([&] {
      score::reconstruct_snapshot({path_, other}, 0.07, -1, folder_.path() / "z.safetensors");
    });
  }
}

TEST_F(HostileFiles, Configs) {
  Mutator random(5);
  const fs::path path = folder_.path() / "x.toml";
  std::vector<std::string> wholes{config::to_toml(config::Config())};
  for (const auto& entry : fs::recursive_directory_iterator(SCORENET_CONFIGS))
    if (entry.path().extension() == ".toml") wholes.push_back(files::read_file(entry.path()));
  Hostile hostile("config", path);
  for (int i = test::fuzz_count(600); i > 0; --i) {
    const std::string& whole = random.one_of(wholes);
    write_bytes(path, random.chance(3) ? random.bytes(whole) : random.toml(whole));
    hostile.takes<ConfigError>([&] {
      const config::Config config = config::parse_file(path);
      config::validate(config, 1);
      const std::string text = config::to_toml(config);
      EXPECT_EQ(config::to_toml(config::parse_text(text, "again")), text);
    });
  }
}

// A run: what is trained on, the config, and the folder.

std::string tiny_run(const fs::path& data) {
  return "[data]\npath = \"" + data.string() +
         "\"\n[model]\ntype = \"mlp\"\nhidden = [8]\n[train]\nsteps = 2\nbatch_size = "
         "4\n[diffusion]\n"
         "time_sampling = \"loss_second_moment\"\ntime_bins = 4\n[eval]\nevery = 0\nsamples = 0\n"
         "sampler_steps = 2\nn = 2\ntime_samples = 1\n[ema]\npowers = [0.1]\n";
}

void write_points(const fs::path& path) {
  auto file = data::Hdf5File::create(path);
  const auto points = torch::linspace(-1, 1, 16, torch::kFloat32).view({8, 2});
  file.write_array("/train/images", points);
  file.write_array("/train/labels", torch::arange(8, torch::kInt64).remainder(3));
  file.write_array("/validation/images", points);
  file.write_array("/validation/labels", torch::arange(8, torch::kInt64).remainder(3));
  file.close();
}

class HostileRun : public testing::Test {
 protected:
  HostileRun() {
    test::limit_memory(uint64_t{3} << 30);
    write_points(data_);
    comms_ = comm::make_communicators({.backend = "single"});
  }
  // Throws unless it ends well. The log on standard output is of no interest.
  void train(const config::Config& config, const fs::path& folder, bool run) {
    testing::internal::CaptureStdout();
    try {
      Trainer trainer(config, folder, comms_, torch::kCPU);
      trainer.start_block();
      if (run) trainer.run();
    } catch (...) {
      testing::internal::GetCapturedStdout();
      throw;
    }
    testing::internal::GetCapturedStdout();
  }
  test::TemporaryFolder folder_{test::memory_or_disk()};
  fs::path data_ = folder_.path() / "points.h5";
  comm::Communicators comms_;
};

bool is_lack_of_memory(const std::exception& error) {
  const std::string text = error.what();
  return dynamic_cast<const std::bad_alloc*>(&error) ||
         dynamic_cast<const std::length_error*>(&error) ||
         text.find("can't allocate memory") != std::string::npos;
}

// A user's own config may ask for more than there is; the program says "out of memory".
TEST_F(HostileRun, ConfigsOfDryRuns) {
  Mutator random(6);
  const std::string tiny = config::to_toml(config_of(tiny_run(data_)));
  const fs::path path = folder_.path() / "x.toml";
  Hostile hostile("dry_run", path);
  for (int i = test::fuzz_count(200); i > 0; --i) {
    write_bytes(path, random.toml(tiny));
    hostile.takes<ConfigError, DataError, ShapeError>([&] {
      const config::Config config = config::parse_file(path);
      config::validate(config, 1);
      try {
        train(config, folder_.path() / "dry", false);
      } catch (const std::exception& error) {
        if (!is_lack_of_memory(error)) throw;
      }
    });
  }
}

// All files below a folder, by their names in it.
std::map<std::string, std::string> files_in(const fs::path& folder) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      all[fs::relative(entry.path(), folder).string()] = files::read_file(entry.path());
  return all;
}

void put_back(const std::map<std::string, std::string>& all, const fs::path& folder) {
  fs::remove_all(folder);
  for (const auto& [name, bytes] : all) write_bytes(folder / name, bytes);
}

// A manifest that speaks for the files as they are now.
void make_manifest_fit(const fs::path& checkpoint) {
  auto manifest = checkpoint::parse_manifest(
      files::read_file(checkpoint / checkpoint::kManifestName), checkpoint);
  for (auto& [name, record] : manifest.files) {
    const std::string bytes = files::read_file(checkpoint / name);
    record.bytes = static_cast<int64_t>(bytes.size());
    record.checksum = checkpoint::checksum(bytes);
  }
  write_bytes(checkpoint / checkpoint::kManifestName, checkpoint::manifest_text(manifest));
}

std::string damaged(Mutator& random, const std::string& name, const std::string& bytes) {
  if (name.ends_with(".json") && !random.chance(4)) return random.json_text(Json::parse(bytes));
  if (name.ends_with(".toml") && !random.chance(4)) return random.toml(bytes);
  if (name.ends_with(".jsonl") && !random.chance(4)) {
    std::string text;
    std::istringstream in(bytes);
    for (std::string line; std::getline(in, line);)
      text += random.json_text(Json::parse(line)) + "\n";
    return text;
  }
  if (name.ends_with(".safetensors") && random.chance(2)) {
    const size_t header = header_length(bytes);
    return with_header(random.json_text(Json::parse(bytes.substr(8, header))),
                       bytes.substr(header + 8));
  }
  return random.bytes(bytes);
}

TEST_F(HostileRun, FoldersToResume) {
  config::Config config = config_of(tiny_run(data_));
  const fs::path run = folder_.path() / "run";
  train(config, run, true);
  const auto whole = files_in(run);
  ASSERT_TRUE(whole.count("checkpoints/0000002/state.json"));
  config.train.steps = 3;
  Mutator random(7);
  Hostile hostile("run", run);
  for (int i = test::fuzz_count(100); i > 0; --i) {
    put_back(whole, run);
    const auto& [name, bytes] =
        *std::next(whole.begin(), static_cast<long>(random.below(whole.size())));
    write_bytes(run / name, damaged(random, name, bytes));
    const bool in_checkpoint = name.starts_with("checkpoints/") &&
                               name.find(checkpoint::kManifestName) == std::string::npos &&
                               name != "checkpoints/latest";
    const bool fitting = in_checkpoint && random.chance(2);
    if (fitting) make_manifest_fit(run / "checkpoints/0000002");
    const bool taken = hostile.takes<CheckpointError, ConfigError, DataError, NotFiniteError>(
        [&] { train(config, run, true); });
    if (taken && in_checkpoint && !fitting && files::read_file(run / name) != bytes &&
        fs::exists(run / name))
      hostile.report("damage of " + name + " was taken");
  }
}

// The kinds that were found so, by name.

class HostileState : public HostileRun {
 protected:
  HostileState() {
    train(config_, run_, true);
    config_.train.steps = 3;
  }
  void set_state(const char* key, const Json& value) {
    Json state = Json::parse(files::read_file(checkpoint_ / "state.json"));
    state[key] = value;
    write_bytes(checkpoint_ / "state.json", state.dump());
    make_manifest_fit(checkpoint_);
  }
  config::Config config_ = config_of(tiny_run(data_));
  fs::path run_ = folder_.path() / "run", checkpoint_ = run_ / "checkpoints/0000002";
};

TEST_F(HostileState, ValuesOfOtherTypesAreDamage) {
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"data", true},
           {"data", Json::object()},
           {"data", {{"fingerprint", 1}, {"description", "x"}}},
           {"precision", 3},
           {"total_sec", "x"},
           {"skipped", nullptr}}) {
    const Json before = Json::parse(files::read_file(checkpoint_ / "state.json"))[key];
    set_state(key, value);
    EXPECT_ERROR(train(config_, run_, true), CheckpointError, "state.json", "damaged");
    set_state(key, before);
  }
}

// A step of another type is a line of nobody's, and the log begins behind it.
TEST_F(HostileState, LinesOfTheLogWhoseStepIsNoNumberAreLeftOut) {
  write_bytes(run_ / "stats.jsonl", "{\"step\": \"x\"}\n{\"step\": [1]}\n{\"step\": 1e300}\n5\n");
  train(config_, run_, true);
  EXPECT_EQ(files::read_file(run_ / "stats.jsonl").find("\"x\""), std::string::npos);
}

// A count is a place in the ring of losses.
TEST_F(HostileState, CountsBelowZeroAreDamage) {
  const fs::path file = checkpoint_ / "objective.safetensors";
  auto objective = checkpoint::read_safetensors(file);
  objective.tensors.at("history.counts").fill_(-1000000);
  checkpoint::write_safetensors(file, objective.tensors, objective.metadata);
  make_manifest_fit(checkpoint_);
  EXPECT_ERROR(train(config_, run_, true), CheckpointError, "history.counts", "below 0");
}

TEST_F(HostileFiles, ForeignTextNestedVeryDeepIsRefused) {
  const std::string deep =
      "{\"norm_eps\": " + std::string(200000, '[') + std::string(200000, ']') + "}";
  write_bytes(folder_.path() / "config.json", deep);
  EXPECT_ERROR(score::JsonKeys(folder_.path() / "config.json"), CheckpointError, "config.json",
               "deep");
  auto whole = wholes_[5];
  whole.metadata[score::kSchedulerText] = deep;
  score::write_snapshot(path_, whole.tensors, whole.metadata);
  const score::LoadedSnapshot snapshot = score::load_snapshot(path_, torch::kCPU);
  EXPECT_ERROR(trained_steps_of(snapshot.model), CheckpointError, "x.safetensors", "deep");
  whole.metadata[score::kSchedulerText] = R"({"timestep_spacing": 3})";
  score::write_snapshot(path_, whole.tensors, whole.metadata);
  EXPECT_ERROR(trained_steps_of(snapshot.model), CheckpointError, "timestep_spacing", "damaged");
}

TEST_F(HostileRun, Mixtures) {
  const fs::path path = folder_.path() / "mixture.h5";
  const std::vector<double> edges{0,      -1,  1,        0.5,    1e308, -1e308,
                                  1e-320, NAN, INFINITY, 1e-200, 1e150};
  Mutator random(8);
  Hostile hostile("mixture", path);
  for (int i = test::fuzz_count(100); i > 0; --i) {
    const auto k = static_cast<int64_t>(1 + random.below(2)),
               d = static_cast<int64_t>(1 + random.below(3));
    std::map<std::string, torch::Tensor> arrays{
        {"weights", torch::full({k}, 1.0 / static_cast<double>(k), torch::kFloat64)},
        {"means", torch::zeros({k, d}, torch::kFloat64)},
        {"covariances", torch::eye(d, torch::kFloat64).repeat({k, 1, 1})}};
    auto& hit = std::next(arrays.begin(), static_cast<long>(random.below(3)))->second;
    switch (random.below(5)) {
      case 0:
        hit = hit.to(torch::kInt64);
        break;
      case 1:
        hit = hit.unsqueeze(0);
        break;
      case 2:
        hit = hit * random.one_of(edges);
        break;
      case 3:
        hit = hit.slice(0, 0, static_cast<int64_t>(random.below(2)));
        break;
      default:
        hit.view(-1)[static_cast<int64_t>(random.below(static_cast<size_t>(hit.numel())))] =
            random.one_of(edges);
    }
    {
      auto file = data::Hdf5File::create(path);
      for (const auto& [name, values] : arrays) file.write_array(name, values.contiguous());
      file.close();
    }
    hostile.takes<DataError, NotFiniteError, ConfigError>([&] {
      config::Config config;
      config.model.type = "gaussian_mixture";
      config.model.file = path;
      score::LoadedSnapshot loaded;
      loaded.model = score::build_model(config, {}, torch::kCPU);
      loaded.example_shape = loaded.model.example_shape;
      use(loaded);
    });
  }
}

TEST_F(HostileFiles, FoldersOfDiffusers) {
  const fs::path from = folder_.path() / "foreign", to = folder_.path() / "to.safetensors";
  std::vector<std::map<std::string, std::string>> folders;
  for (const size_t which : {4, 5}) {
    const Whole& whole = wholes_[which];
    score::write_snapshot(path_, whole.tensors, whole.metadata);
    fs::remove_all(from);
    score::snapshot_to_diffusers(path_, from);
    folders.push_back(files_in(from));
    folders.back()["scheduler/scheduler_config.json"] =
        score::scheduler_json(whole.network.config).dump();
    folders.push_back(folders.back());
    folders.back().erase("unet/scorenet.toml");  // foreign from here on
    auto sharded = folders.back();
    Json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", Json::object()}};
    const std::string shard = "diffusion_pytorch_model-00001-of-00001.safetensors";
    for (const auto& [name, tensor] : whole.tensors) index["weight_map"][name] = shard;
    sharded["unet/" + shard] = sharded.at("unet/diffusion_pytorch_model.safetensors");
    sharded.erase("unet/diffusion_pytorch_model.safetensors");
    sharded["unet/diffusion_pytorch_model.safetensors.index.json"] = index.dump();
    sharded["model_index.json"] =
        R"({"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]})";
    folders.push_back(sharded);
  }
  Mutator random(9);
  Hostile hostile("diffusers", from);
  for (int i = test::fuzz_count(100); i > 0; --i) {
    auto all = random.one_of(folders);
    all.erase("README.md");
    all.erase("pipeline.py");
    auto& [name, bytes] = *std::next(all.begin(), static_cast<long>(random.below(all.size())));
    bytes = damaged(random, name, bytes);
    put_back(all, from);
    hostile.takes<CheckpointError, ConfigError, NotFiniteError>(
        [&] { score::snapshot_from_diffusers(from, to); });
  }
}

}  // namespace
}  // namespace scorenet::train
