#include <algorithm>
#include <memory>
#include <set>
#include <utility>
#include <vector>

// The two decoders asked for, and no others: less code meets files from anywhere.
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

#include "framework/core/random.hpp"
#include "framework/data/convert.hpp"
#include "framework/data/convert_parts.hpp"

namespace scorenet::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kRowsAtOnce = 256;

struct ImageFile {
  fs::path path;
  int64_t label = 0;
};

struct Geometry {
  int height = 0;
  int width = 0;
  int channels = 1;
};

bool is_image(const fs::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  if (!fs::is_directory(folder)) {
    throw DataError(folder.string() + ": no such folder. Expected FOLDER/CLASS/*.png or .jpg.");
  }
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::vector<std::string> class_names(const std::vector<fs::path>& folders) {
  std::set<std::string> names;
  for (const auto& folder : folders) {
    for (const auto& entry : sorted_entries(folder)) {
      if (fs::is_directory(entry)) names.insert(entry.filename().string());
    }
  }
  return {names.begin(), names.end()};
}

std::vector<ImageFile> list_images(const fs::path& folder,
                                   const std::vector<std::string>& classes) {
  std::vector<ImageFile> images;
  for (size_t label = 0; label < classes.size(); ++label) {
    if (!fs::is_directory(folder / classes[label])) continue;
    for (const auto& path : sorted_entries(folder / classes[label])) {
      if (is_image(path)) images.push_back({path, static_cast<int64_t>(label)});
    }
  }
  if (images.empty()) {
    throw DataError(folder.string() +
                    ": no image found. Expected FOLDER/CLASS/*.png, .jpg or .jpeg.");
  }
  return images;
}

[[noreturn]] void fail_decoding(const fs::path& path) {
  const char* reason = stbi_failure_reason();
  throw DataError(path.string() + ": cannot be decoded (" + (reason ? reason : "unknown reason") +
                  "). Expected an 8-bit PNG or baseline JPEG: repair or remove it.");
}

// One size for all; colour as soon as one image has it.
Geometry common_geometry(const std::vector<ImageFile>& images, Geometry geometry) {
  for (const auto& image : images) {
    int width = 0, height = 0, channels = 0;
    if (!stbi_info(image.path.c_str(), &width, &height, &channels)) fail_decoding(image.path);
    if (geometry.height == 0) geometry = {height, width, 1};
    if (height != geometry.height || width != geometry.width) {
      throw DataError(image.path.string() + ": " + std::to_string(width) + " x " +
                      std::to_string(height) + " pixels, the first image has " +
                      std::to_string(geometry.width) + " x " + std::to_string(geometry.height) +
                      ". Resize all to one size first.");
    }
    if (channels >= 3) geometry.channels = 3;
  }
  return geometry;
}

// (C, H, W) uint8.
torch::Tensor decode(const ImageFile& image, const Geometry& geometry) {
  int width = 0, height = 0, channels = 0;
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load(image.path.c_str(), &width, &height, &channels, geometry.channels),
      &stbi_image_free);
  if (!pixels || width != geometry.width || height != geometry.height) fail_decoding(image.path);
  return torch::from_blob(pixels.get(), {height, width, geometry.channels}, torch::kUInt8)
      .permute({2, 0, 1})
      .clone(torch::MemoryFormat::Contiguous);  // never a view: stb's buffer ends here
}

void write_images(DatasetWriter& writer, const std::string& split,
                  const std::vector<ImageFile>& images, const Geometry& geometry) {
  writer.begin_split({split,
                      static_cast<int64_t>(images.size()),
                      {geometry.channels, geometry.height, geometry.width},
                      torch::kUInt8,
                      true});
  std::vector<torch::Tensor> rows;
  std::vector<int64_t> labels;
  for (size_t i = 0; i < images.size(); ++i) {
    rows.push_back(decode(images[i], geometry));
    labels.push_back(images[i].label);
    if (static_cast<int64_t>(rows.size()) < kRowsAtOnce && i + 1 < images.size()) continue;
    writer.append(torch::stack(rows), torch::tensor(labels));
    rows.clear();
    labels.clear();
  }
}

std::vector<ImageFile> shuffled(const std::vector<ImageFile>& images) {
  std::vector<ImageFile> result;
  for (const int64_t i :
       permutation({0, RandomStream::shuffle, 0}, static_cast<int64_t>(images.size()))) {
    result.push_back(images[static_cast<size_t>(i)]);
  }
  return result;
}

struct NamedSplit {
  std::string name;
  std::vector<ImageFile> images;
};

std::vector<NamedSplit> cut(const std::vector<ImageFile>& images, const SplitSizes& sizes) {
  std::vector<NamedSplit> splits;
  auto next = images.begin();
  for (const auto& [name, size] :
       {std::pair{"train", sizes.train}, {"validation", sizes.validation}, {"test", sizes.test}}) {
    if (size > 0) splits.push_back({name, {next, next + size}});
    next += size;
  }
  return splits;
}

std::string joined_lines(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : "\n") + name;
  return text;
}

}  // namespace

void convert_folder(const fs::path& folder, const ConvertOptions& options) {
  sorted_entries(folder);  // the folder itself must exist
  std::vector<fs::path> given;
  for (const char* name : {"train", "validation", "test"}) {
    if (fs::is_directory(folder / name)) given.push_back(folder / name);
  }
  if (!given.empty() && (options.validation.value_or(0) > 0 || options.test > 0)) {
    throw ConfigError(folder.string() +
                      ": has folders for its splits, so --validation and --test do not apply. "
                      "Leave them out.");
  }
  const auto classes = class_names(given.empty() ? std::vector<fs::path>{folder} : given);
  std::vector<NamedSplit> splits;
  Geometry geometry;
  std::string rule = "the source's own folders";
  if (given.empty()) {
    const auto images = list_images(folder, classes);
    const auto sizes = split_sizes(static_cast<int64_t>(images.size()),
                                   options.validation.value_or(0), options.test);
    geometry = common_geometry(images, geometry);
    splits = cut(shuffled(images), sizes);
    rule = split_rule(sizes, "the files in sorted order, shuffled with seed 0");
  }
  for (const auto& path : given) {
    const auto images = list_images(path, classes);
    geometry = common_geometry(images, geometry);
    splits.push_back({path.filename().string(), shuffled(images)});
  }
  DatasetWriter writer(options.out, options.storage, options.overwrite);
  writer.set_attribute("source", "folder of images");
  writer.set_attribute("split_rule", rule);
  writer.set_attribute("classes", joined_lines(classes));
  for (const auto& split : splits) write_images(writer, split.name, split.images, geometry);
  writer.commit();
}

}  // namespace scorenet::data
