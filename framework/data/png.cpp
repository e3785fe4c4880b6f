#include "framework/data/png.hpp"

#include <zlib.h>

#include <algorithm>

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

#include "framework/core/check.hpp"
#include "framework/files/atomic_file.hpp"

namespace scorenet::data {
namespace {

// Signature (8) and IHDR (25): text may follow at once. (PNG specification, ISO/IEC 15948,
// 5.6 and 11.3.4.)
constexpr size_t kAfterHeader = 33;

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>((value >> shift) & 0xff);
  return bytes;
}

std::string text_chunk(const std::string& keyword, const std::string& text) {
  const std::string content = "tEXt" + keyword + '\0' + text;
  const auto crc =
      crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size()));
  return big_endian(static_cast<uint32_t>(content.size() - 4)) + content +
         big_endian(static_cast<uint32_t>(crc));
}

std::string encode(const torch::Tensor& picture) {
  std::string bytes;
  const auto height = static_cast<int>(picture.size(0));
  const auto width = static_cast<int>(picture.size(1));
  const auto channels = static_cast<int>(picture.size(2));
  stbi_write_png_to_func(
      [](void* out, void* data, int size) {
        static_cast<std::string*>(out)->append(static_cast<char*>(data), static_cast<size_t>(size));
      },
      &bytes, width, height, channels, picture.data_ptr(), width * channels);
  return bytes;
}

}  // namespace

torch::Tensor image_grid(const torch::Tensor& images, int64_t columns, int64_t padding) {
  if (images.dim() != 4 || images.size(0) < 1 || (images.size(1) != 1 && images.size(1) != 3) ||
      images.scalar_type() != torch::kUInt8 || columns < 1 || padding < 0) {
    throw ShapeError("image grid: " + std::string(c10::toString(images.scalar_type())) +
                     " of shape " + shape_string(images.sizes()) + ", " + std::to_string(columns) +
                     " columns, padding " + std::to_string(padding) +
                     ": expected uint8 (N, C, H, W) with C = 1 or 3, at least one column.");
  }
  const int64_t height = images.size(2) + padding, width = images.size(3) + padding;
  const int64_t rows = (images.size(0) + columns - 1) / columns;
  columns = std::min(columns, images.size(0));
  auto grid = torch::zeros({rows * height - padding, columns * width - padding, images.size(1)},
                           torch::kUInt8);
  for (int64_t i = 0; i < images.size(0); ++i) {
    grid.narrow(0, i / columns * height, images.size(2))
        .narrow(1, i % columns * width, images.size(3))
        .copy_(images[i].permute({1, 2, 0}));
  }
  return grid;
}

void check_channels(const std::vector<int64_t>& channels, int64_t count,
                    const std::string& option) {
  std::string text;
  bool right = channels.empty() || channels.size() == 1 || channels.size() == 3;
  for (const int64_t channel : channels) {
    text += (text.empty() ? "" : ",") + std::to_string(channel);
    right = right && channel >= 0 && channel < count;
  }
  if (right) return;
  throw ConfigError(option + " " + text + ": expected one channel or three of 0 to " +
                    std::to_string(count - 1) + ", for example " + (count >= 3 ? "0,1,2." : "0."));
}

PictureTiles picture_tiles(const torch::Tensor& images, const std::vector<int64_t>& channels) {
  if (!channels.empty()) return {images.index_select(1, torch::tensor(channels)), 1};
  const int64_t count = images.dim() == 4 ? images.size(1) : 1;
  if (count == 1 || count == 3) return {images, 1};
  return {images.reshape({images.size(0) * count, 1, images.size(2), images.size(3)}), count};
}

void write_png_grid(const std::filesystem::path& path, const torch::Tensor& images, int64_t columns,
                    int64_t padding, const std::map<std::string, std::string>& metadata,
                    const std::vector<int64_t>& channels) {
  const PictureTiles tiles = picture_tiles(images, channels);
  // An image's tiles stay in its row.
  const int64_t in_a_row = std::min(columns, std::max<int64_t>(images.size(0), 1));
  std::string bytes = encode(image_grid(tiles.images, in_a_row * tiles.per_image, padding));
  std::string text;
  for (const auto& [keyword, value] : metadata) text += text_chunk(keyword, value);
  bytes.insert(kAfterHeader, text);
  try {
    files::write_file_atomically(path, bytes);
  } catch (const files::FileError& error) {
    throw DataError(error.what());
  }
}

}  // namespace scorenet::data
