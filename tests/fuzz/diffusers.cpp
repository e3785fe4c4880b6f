// A JSON file of a diffusers folder, whose first byte says which: the network's, the scheduler's,
// the pipeline's or the index of the weights. The others are whole.
#include "framework/score/diffusers.hpp"

#include <filesystem>
#include <map>

#include "framework/config/parse.hpp"
#include "framework/files/atomic_file.hpp"
#include "framework/score/snapshot.hpp"
#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"

namespace scorenet::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNames[] = {"unet/config.json", "scheduler/scheduler_config.json",
                                  "model_index.json",
                                  "unet/diffusion_pytorch_model.safetensors.index.json"};
constexpr char kWeights[] = "unet/diffusion_pytorch_model.safetensors";
constexpr char kShard[] = "unet/diffusion_pytorch_model-00001-of-00001.safetensors";

// A folder as this program writes one, of the smallest U-Net there is.
std::map<std::string, std::string> make_whole() {
  const auto config = config::parse_text(
      "[model]\nchannels = [4]\nattention = [false]\nattention_head_dim = 4\nlayers_per_block = 1\n"
      "norm_groups = 2\ntimesteps = 10\n",
      "here");
  const std::string snapshot = workplace() / "small.safetensors", folder = workplace() / "whole";
  checkpoint::TensorMap tensors;
  for (const auto& [name, tensor] :
       score::named_parameters(score::build_model(config, {1, 8, 8}, torch::kCPU)))
    tensors[name] = tensor.detach();
  score::write_snapshot(snapshot, tensors, score::snapshot_metadata(config, {1, 8, 8}, {1, "raw"}));
  score::snapshot_to_diffusers(snapshot, folder);
  std::map<std::string, std::string> files;
  files[kNames[0]] = files::read_file(folder + "/unet/config.json");
  files[kNames[1]] = files::read_file(folder + "/scheduler/scheduler_config.json");
  files[kNames[2]] = R"({"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "x"]})";
  files[kWeights] = files::read_file(folder + "/unet/diffusion_pytorch_model.safetensors");
  return files;
}

}  // namespace

bool diffusers(std::string_view bytes) {
  static const auto whole = make_whole();
  const auto [chosen, content] = choose(bytes, 4);
  const fs::path folder = workplace() / "foreign";
  fs::remove_all(folder);
  for (const auto& [name, file] : whole) test::write_bytes(folder / name, file);
  if (chosen == 3) fs::rename(folder / kWeights, folder / kShard);
  test::write_bytes(folder / kNames[chosen], content);
  const std::string out = workplace() / "imported.safetensors";
  if (!takes<CheckpointError, ConfigError, NotFiniteError>(
          [&] { score::snapshot_from_diffusers(folder, out); }))
    return false;
  score::load_snapshot(out, torch::kCPU);
  return true;
}

}  // namespace scorenet::fuzz
