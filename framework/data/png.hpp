// A grid of images as one PNG file.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace scorenet::data {

/// images: (N, C, H, W) uint8 with C = 1 or 3, N >= 1, laid out row by row, `columns` to a row, `padding` black pixels
/// between neighbours. metadata: keywords (1 to 79 Latin letters) and texts, stored as the file's tEXt chunks.
/// The file appears whole or not at all. Throws ShapeError for other images and DataError if it cannot be written.
void write_png_grid(const std::filesystem::path& path, const torch::Tensor& images, int64_t columns,
                    int64_t padding = 2, const std::map<std::string, std::string>& metadata = {});

/// The picture above as a tensor (rows (H + padding) - padding, columns (W + padding) - padding, C) uint8.
torch::Tensor image_grid(const torch::Tensor& images, int64_t columns, int64_t padding);

}  // namespace scorenet::data
