// The memory layout of the CPU executor's activations: NHWC, float32, with a border.
//
// - Each image has a border of one pixel of zeros. Every tap of a 3x3 kernel is then the same
//   matrix product, on a shifted pointer.
// - Channels come in blocks of 16. Places of the last block that hold no channel are zero, in
//   activations and in weights, so no kernel treats a remainder.
// - A view may be some blocks of a wider image: two layers that write neighbouring blocks have
//   concatenated their results.
#pragma once

#include <cstdint>

namespace scorenet::models::cpu {

constexpr int64_t kBlock = 16;

constexpr int64_t blocks_of(int64_t channels) { return (channels + kBlock - 1) / kBlock; }
constexpr int64_t whole_blocks(int64_t channels) { return blocks_of(channels) * kBlock; }

struct Area {
  int64_t height = 0;
  int64_t width = 0;
  int64_t pixels() const { return height * width; }
};

/// Images of one size. Strides in floats.
struct View {
  float* pixel = nullptr;  // pixel (0, 0) of the first image, its first channel
  int64_t step = 0;        // from pixel to pixel of a row
  int64_t row = 0;
  int64_t image = 0;
  int64_t channels = 0;  // whole blocks, but for what is only read channel by channel
  Area area;

  View from_image(int64_t n) const {
    View v = *this;
    v.pixel += n * image;
    return v;
  }
  /// The first channel of pixel (y, x) of image n.
  float* at(int64_t n, int64_t y, int64_t x) const {
    return pixel + n * image + y * row + x * step;
  }
};

using Bf16 = uint16_t;  // the upper half of a float

/// What a convolution reads: images in float32, or the same images already rounded to bfloat16
/// (pixel_planes.hpp). In the second case the view gives the size only.
struct Operand {
  View view;
  Bf16* rounded = nullptr;  // of the first image; null: the view is read
  int64_t rounded_image = 0;

  Operand(const View& images) : view(images) {}
  Operand(const View& size, Bf16* first, int64_t image)
      : view(size), rounded(first), rounded_image(image) {}
};

}  // namespace scorenet::models::cpu
