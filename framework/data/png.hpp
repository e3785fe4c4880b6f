// A grid of images as one PNG file.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace scorenet::data {

/// images: (N, C, H, W) uint8, any C, N >= 1, laid out row by row, `columns` per row, `padding`
/// black pixels between neighbours. channels: which are shown, as in picture_tiles; the tiles of an
/// image stand side by side. metadata: keywords (1 to 79 Latin letters) and texts,
/// stored as the file's tEXt chunks. The file appears whole or not at all. Throws ShapeError for
/// other images and DataError if it cannot be written.
void write_png_grid(const std::filesystem::path& path, const torch::Tensor& images, int64_t columns,
                    int64_t padding = 2, const std::map<std::string, std::string>& metadata = {},
                    const std::vector<int64_t>& channels = {});

/// Images as PNG can show them: (N * per_image, 1 or 3, H, W), each image's tiles one after the
/// other.
struct PictureTiles {
  torch::Tensor images;
  int64_t per_image = 1;
};

/// images: (N, C, H, W). channels names one channel, shown grey, or three, shown red, green and
/// blue; where it is empty, C = 1 and C = 3 are shown as they are, and of any other C each channel
/// is a grey tile. REQUIRES check_channels(channels, C).
PictureTiles picture_tiles(const torch::Tensor& images, const std::vector<int64_t>& channels = {});

/// Throws ConfigError naming `option` and the value unless channels is empty or names one or three
/// of 0..count - 1.
void check_channels(const std::vector<int64_t>& channels, int64_t count, const std::string& option);

/// The picture of images (N, 1 or 3, H, W) as a tensor (rows (H + padding) - padding, columns
/// (W + padding) - padding, C) uint8.
torch::Tensor image_grid(const torch::Tensor& images, int64_t columns, int64_t padding);

}  // namespace scorenet::data
