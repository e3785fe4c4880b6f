// A [data] section, and the conditions beside it, over HDF5 files of several layouts.
#include "framework/data/data_map.hpp"

#include <filesystem>

#include "framework/config/parse.hpp"
#include "framework/config/validate.hpp"
#include "framework/data/describe.hpp"
#include "framework/data/image_dataset.hpp"
#include "framework/score/model_input.hpp"
#include "tests/fuzz/target_support.hpp"
#include "tests/fuzz/targets.hpp"

namespace scorenet::fuzz {
namespace {

torch::Tensor numbers(std::vector<int64_t> shape, torch::Dtype dtype) {
  return torch::arange(c10::multiply_integers(shape)).remainder(251).to(dtype).view(shape);
}

// Arrays of one to five axes, samples first, last and along two axes, with labels and text.
std::string make_files() {
  const std::string folder = workplace() / "files";
  std::filesystem::create_directories(folder);
  for (const char* name : {"/a.h5", "/b.h5"}) {
    auto file = data::Hdf5File::create(folder + name);
    for (const char* split : {"/train", "/validation"}) {
      file.write_array(std::string(split) + "/images", numbers({6, 1, 4, 4}, torch::kUInt8));
      file.write_array(std::string(split) + "/labels", torch::arange(6));
    }
    file.write_array("/field", numbers({2, 3, 2, 4, 4}, torch::kFloat32), {1, 4});
    file.write_array("/last", numbers({4, 4, 6}, torch::kFloat64));
    file.write_array("/rows", numbers({6, 3}, torch::kFloat32));
    file.write_array("/one", numbers({6}, torch::kFloat32));
    file.write_strings("/text", {"a", "b"});
    file.close();
  }
  return folder;
}

// The input names files below the folder alone: no other file is opened.
void stay_inside(std::string& path, const std::string& folder) {
  const bool second = path.find("b.") != std::string::npos;
  path = folder + (path.find('*') != std::string::npos ? "/*.h5" : second ? "/b.h5" : "/a.h5");
}

void stay_inside(config::Config& config, const std::string& folder) {
  for (std::string& path : config.data.map.path) stay_inside(path, folder);
  if (config.data.map.path.empty()) config.data.map.path = {folder + "/a.h5"};
  for (auto& [split, entries] : config.data.map.splits)
    if (!data::are_ranges(entries))
      for (std::string& entry : entries) stay_inside(entry, folder);
}

}  // namespace

bool data_map(std::string_view bytes) {
  static const std::string folder = make_files();
  config::Config config;
  const bool valid = takes<ConfigError>([&] {
    config = config::parse_text(std::string(bytes), "x.toml");
    stay_inside(config, folder);
    config::validate(config, 1);
  });
  if (!valid) return false;
  takes<ConfigError, DataError>([&] { data::describe_map(config.data.map, {}); });
  return takes<ConfigError, DataError>([&] {
    data::ImageDataset dataset(config.data.map, config.data.split, score::dataset_options(config));
    dataset.read({0, dataset.size() - 1});
  });
}

}  // namespace scorenet::fuzz
