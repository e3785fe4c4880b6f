#include "framework/data/sample_picture.hpp"

#include <algorithm>
#include <cmath>

#include "framework/core/check.hpp"
#include "framework/data/png.hpp"

namespace scorenet::data {
namespace {

constexpr int64_t kLeastSide = 64;
constexpr int64_t kSlices = 6;  // of a volume
constexpr int64_t kColumns = 8;
constexpr int64_t kMostTiles = 12;  // channels and slices of a sample

// (N, C, ...) to 0..255: bytes as they are, real numbers from a channel's least to its greatest.
torch::Tensor levels_of(const torch::Tensor& samples) {
  if (samples.scalar_type() == torch::kUInt8) return samples;
  const auto by_channel = samples.to(torch::kFloat64).transpose(0, 1);
  const auto flat = by_channel.reshape({by_channel.size(0), -1});
  const auto finite = torch::isfinite(flat);
  const auto least = torch::where(finite, flat, INFINITY).amin(1, true);
  const auto greatest = torch::where(finite, flat, -INFINITY).amax(1, true);
  const auto width = torch::where(greatest > least, greatest - least, 1);
  const auto levels = torch::where(finite, (flat - least) / width * 255, 0).round().clamp(0, 255);
  return levels.view(by_channel.sizes()).transpose(0, 1).to(torch::kUInt8);
}

// Curves (N, C, L), each channel from bottom to top of an image of its own.
torch::Tensor curves(const torch::Tensor& levels) {
  const int64_t count = levels.size(2);
  const int64_t step = std::max<int64_t>(1, 2 * kLeastSide / count);
  const int64_t height = kLeastSide, width = std::max<int64_t>(1, (count - 1) * step + 1);
  auto pictures = torch::zeros({levels.size(0), levels.size(1), height, width}, torch::kUInt8);
  // (N, C, L), counted from above.
  const auto rows =
      (height - 1) - (levels.to(torch::kInt64) * (height - 1) + 127).div(255, "floor");
  const auto at = rows.accessor<int64_t, 3>();
  auto pixels = pictures.accessor<uint8_t, 4>();
  for (int64_t n = 0; n < rows.size(0); ++n) {
    for (int64_t c = 0; c < rows.size(1); ++c) {
      pixels[n][c][at[n][c][0]][0] = 255;
      for (int64_t x = 1; x < width; ++x) {
        // A column from the height before to this one: steep curves stay in one piece.
        const auto height_at = [&](int64_t place) {
          const int64_t i = place / step, part = place % step;
          const int64_t next = at[n][c][std::min(i + 1, count - 1)];
          return at[n][c][i] + (next - at[n][c][i]) * part / step;
        };
        const auto [low, high] = std::minmax({height_at(x - 1), height_at(x)});
        for (int64_t y = low; y <= high; ++y) pixels[n][c][y][x] = 255;
      }
    }
  }
  return pictures;
}

// Evenly spread slices of (N, C, D, H, W) as channels.
torch::Tensor slices(const torch::Tensor& levels) {
  const int64_t depth = levels.size(2), shown = std::min(kSlices, depth);
  std::vector<int64_t> places;
  for (int64_t i = 0; i < shown; ++i) places.push_back((2 * i + 1) * depth / (2 * shown));
  return levels.index_select(2, torch::tensor(places)).flatten(1, 2);
}

// Whole pixels, so that small images can be seen.
torch::Tensor enlarged(const torch::Tensor& images) {
  const int64_t factor = kLeastSide / std::max(images.size(2), images.size(3));
  if (factor < 2) return images;
  return images.repeat_interleave(factor, 2).repeat_interleave(factor, 3);
}

}  // namespace

torch::Tensor picture_of_samples(const torch::Tensor& samples) {
  const torch::Tensor with_channel = samples.dim() == 2 ? samples.unsqueeze(1) : samples;
  if (with_channel.dim() < 3 || with_channel.dim() > 5) {
    throw ShapeError("picture of samples of shape " + shape_string(samples.sizes()) +
                     ": expected one, two or three axes besides channels.");
  }
  const torch::Tensor levels = levels_of(with_channel);
  if (levels.dim() == 3) return curves(levels);
  return enlarged(levels.dim() == 5 ? slices(levels) : levels).contiguous();
}

void write_sample_picture(const std::filesystem::path& path, const torch::Tensor& samples) {
  torch::Tensor images = picture_of_samples(samples);
  images = images.narrow(1, 0, std::min(kMostTiles, images.size(1)));
  // An image's channels and slices lie side by side.
  const bool several = images.size(1) != 1 && images.size(1) != 3;
  write_png_grid(path, images, several ? 1 : kColumns);
}

}  // namespace scorenet::data
