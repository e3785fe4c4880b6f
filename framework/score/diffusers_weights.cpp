#include "framework/score/diffusers_weights.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <vector>

#include "framework/core/error.hpp"
#include "framework/files/regular_file.hpp"
#include "framework/score/json_keys.hpp"

namespace scorenet::score {
namespace {

namespace fs = std::filesystem;

constexpr char kStem[] = "diffusion_pytorch_model.";
constexpr char kIndex[] = "diffusion_pytorch_model.safetensors.index.";

struct Name {
  const char* ours;
  const char* theirs;
};
// Attention layers of weights that were saved before diffusers 0.12.
constexpr Name kOldNames[] = {{".to_q.", ".query."},
                              {".to_k.", ".key."},
                              {".to_v.", ".value."},
                              {".to_out.0.", ".proj_attn."}};

std::string our_name(std::string name) {
  for (const Name& old : kOldNames) {
    const auto at = name.find(old.theirs);
    if (at != std::string::npos) name.replace(at, std::string(old.theirs).size(), old.ours);
  }
  return name;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator each(folder, error), end; !error && each != end;
       each.increment(error))
    if (each->path().filename().string().starts_with("diffusion_pytorch_model"))
      names.push_back(each->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// Not one of several: "....fp16-00001-of-00002.safetensors".
bool is_whole(const std::string& name) {
  return name.starts_with(kStem) && name.ends_with(".safetensors") &&
         name.find("-of-") == std::string::npos;
}

// "....safetensors.index.json" or, of a variant, "....safetensors.index.fp16.json".
bool is_index(const std::string& name) {
  return name.starts_with(kIndex) && name.ends_with(".json");
}

[[noreturn]] void refuse_missing(const fs::path& folder, const std::vector<std::string>& names) {
  const auto pickle = std::find_if(names.begin(), names.end(), [](const std::string& name) {
    return name.ends_with(".bin") || name.find(".bin.index.") != std::string::npos;
  });
  const std::string place = fs::absolute(folder).lexically_normal().string();
  if (pickle != names.end()) {
    throw CheckpointError(
        (folder / *pickle).string() +
        ": is a pickle, which can run any code, so it is not read. Convert it once: python3 -c "
        "\"from diffusers import UNet2DModel as U; d = '" +
        place + "'; U.from_pretrained(d).save_pretrained(d)\"");
  }
  throw CheckpointError((folder / kStem).string() +
                        "safetensors: no such file, nor a variant or an index of it. Give a folder "
                        "that save_pretrained wrote.");
}

// The file or index to read.
std::string choose(const fs::path& folder) {
  const auto names = names_in(folder);
  for (const char* plain : {"safetensors", "safetensors.index.json"}) {
    std::string name = kStem;
    name += plain;
    if (std::find(names.begin(), names.end(), name) != names.end()) return name;
  }
  std::vector<std::string> found;
  for (const std::string& name : names)
    if (is_whole(name) || is_index(name)) found.push_back(name);
  if (found.empty()) refuse_missing(folder, names);
  if (found.size() == 1) return found[0];
  throw CheckpointError(folder.string() + ": holds several variants of the weights, " + found[0] +
                        " and " + found[1] + ". Keep only the one you want in the folder.");
}

// Git keeps large files elsewhere and leaves a text of three lines in their place.
void refuse_pointer(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string start(24, '\0');
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  if (start != "version https://git-lfs.") return;
  throw CheckpointError(path.string() +
                        ": is a Git LFS pointer, not the weights. Fetch them with git lfs pull.");
}

checkpoint::TensorMap read_file(const fs::path& path) {
  const std::string obstacle = files::unreadable_because(path);
  if (!obstacle.empty())
    throw CheckpointError(path.string() + ": " + obstacle +
                          ", expected weights. Fetch the folder again.");
  refuse_pointer(path);
  return checkpoint::read_safetensors(path).tensors;
}

std::map<std::string, std::string> weight_map(const fs::path& index) {
  JsonKeys keys(index);
  if (!keys.has("weight_map") || !keys.json().at("weight_map").is_object())
    keys.refuse("weight_map", "an object of tensors and their files");
  std::map<std::string, std::string> result;
  for (const auto& [tensor, file] : keys.json().at("weight_map").items()) {
    if (!file.is_string() || fs::path(file.get<std::string>()).has_parent_path())
      keys.refuse("weight_map", "names of files in the same folder");
    result[tensor] = file.get<std::string>();
  }
  return result;
}

checkpoint::TensorMap read_shards(const fs::path& index) {
  const auto map = weight_map(index);
  std::set<std::string> shards;
  for (const auto& [tensor, file] : map) shards.insert(file);
  checkpoint::TensorMap all;
  for (const std::string& shard : shards) {
    for (const auto& [name, tensor] : read_file(index.parent_path() / shard)) {
      const auto listed = map.find(name);
      if (listed == map.end() || listed->second != shard)
        throw CheckpointError((index.parent_path() / shard).string() + ", tensor '" + name +
                              "': is not listed for this file in " + index.filename().string() +
                              ". Fetch the folder again.");
      all[name] = tensor;
    }
  }
  for (const auto& [name, shard] : map)
    if (!all.contains(name))
      throw CheckpointError((index.parent_path() / shard).string() + ", tensor '" + name +
                            "': is missing, although " + index.filename().string() +
                            " lists it for this file. Fetch the folder again.");
  return all;
}

torch::Tensor checked(const torch::Tensor& tensor, const std::string& name, const fs::path& path) {
  if (!tensor.is_floating_point())
    throw CheckpointError(path.string() + ", tensor '" + name +
                          "': is not of floating point, so it is no weight of a U-Net.");
  const torch::Tensor value = tensor.to(torch::kFloat32);
  if (value.isfinite().all().item<bool>()) return value;
  throw NotFiniteError(path.string() + ", tensor '" + name +
                       "': holds a value that is not a finite float32 number. Convert the weights "
                       "of another checkpoint.");
}

}  // namespace

checkpoint::TensorMap read_diffusers_weights(const fs::path& folder) {
  const fs::path path = folder / choose(folder);
  checkpoint::TensorMap weights;
  for (const auto& [name, tensor] :
       path.extension() == ".json" ? read_shards(path) : read_file(path))
    weights[our_name(name)] = checked(tensor, name, path);
  return weights;
}

}  // namespace scorenet::score
