#include "framework/evaluate/given_samples.hpp"

#include <torch/utils.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "framework/core/check.hpp"
#include "framework/core/pixels.hpp"
#include "framework/data/hdf5.hpp"
#include "framework/data/picture.hpp"

namespace scorenet::evaluate {
namespace {

namespace fs = std::filesystem;

int64_t bounded(int64_t count, int64_t most) { return most > 0 ? std::min(count, most) : count; }

std::vector<fs::path> pictures_of(const std::string& folder) {
  std::vector<fs::path> files;
  std::error_code failed;
  for (auto entry = fs::recursive_directory_iterator(folder, failed);
       !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed))
    if (data::has_picture_ending(entry->path())) files.push_back(entry->path());
  if (failed) {
    throw DataError("--samples " + folder + ": cannot be listed (" + failed.message() +
                    "). Check its permissions.");
  }
  if (files.empty()) {
    throw DataError("--samples " + folder +
                    ": no PNG, JPEG or WebP picture in it. Give the folder that sample wrote.");
  }
  std::sort(files.begin(), files.end());
  return files;
}

// (C, H, W) uint8.
torch::Tensor pixels_of(const fs::path& path, c10::IntArrayRef shape) {
  const torch::Tensor read = data::read_picture(path).pixels.permute({2, 0, 1});
  const bool fits = shape.size() == 3 && read.scalar_type() == torch::kUInt8 &&
                    (read.size(0) == shape[0] || read.size(0) == 1) && read.size(1) == shape[1] &&
                    read.size(2) == shape[2];
  if (fits) return read.expand(shape);
  throw DataError("--samples: " + path.string() + " has channels, rows and columns " +
                  shape_string(read.sizes()) + ", but the data has " + shape_string(shape) +
                  " in 8 bits. Give pictures of that size, or leave this one out.");
}

torch::Tensor of_folder(const std::string& folder, c10::IntArrayRef shape, int64_t levels,
                        int64_t most) {
  if (levels != kPixelLevels) {
    throw ConfigError("--samples " + folder + ": pictures hold 256 levels, but the data has " +
                      (levels == 0 ? "real numbers" : std::to_string(levels) + " levels") +
                      ". Give the samples.h5 that sample --save-h5 writes.");
  }
  const auto files = pictures_of(folder);
  const auto count = bounded(static_cast<int64_t>(files.size()), most);
  std::vector<int64_t> all{count};
  all.insert(all.end(), shape.begin(), shape.end());
  const auto pixels = torch::empty(all, torch::kUInt8);
  for (int64_t i = 0; i < count; ++i)
    pixels[i].copy_(pixels_of(files[static_cast<size_t>(i)], shape));
  return data_from_pixels(pixels, torch::kFloat64);
}

torch::Tensor of_file(const std::string& path, c10::IntArrayRef shape, int64_t most) {
  const auto file = data::Hdf5File::open(path);
  if (!file.has("/samples")) {
    throw DataError("--samples " + path +
                    ": has no data set /samples. Give the samples.h5 that sample --save-h5 "
                    "writes, or a folder of pictures.");
  }
  const auto array = file.array("/samples");
  const std::vector<int64_t>& stored = array.info().shape;
  if (stored.empty() || c10::IntArrayRef(stored).slice(1) != shape) {
    throw DataError("--samples " + array.where() + " has shape " + shape_string(stored) +
                    ", expected a row for each sample of shape " + shape_string(shape) +
                    ", as the data has. Give samples of such data.");
  }
  return array.read_rows(0, bounded(stored[0], most), torch::kFloat64);
}

}  // namespace

torch::Tensor read_samples(const std::string& path, c10::IntArrayRef example_shape, int64_t levels,
                           int64_t most) {
  std::error_code unknown;
  return fs::is_directory(path, unknown) ? of_folder(path, example_shape, levels, most)
                                         : of_file(path, example_shape, most);
}

}  // namespace scorenet::evaluate
