// An image in bfloat16 as a matrix of pixels, which every tap of a convolution reads at another
// offset.
//
// The pixels are numbered row by row with the border, so pixel (y, x) is y pitch + x numbers behind
// pixel (0, 0). A product runs over all numbers of the grid. Some of them belong to the border:
// their results are not written, or are multiplied by zeros.
//
// A convolution that halves or doubles an image reads every second pixel. The image is then kept as
// step x step planes: a plane holds every `step`-th pixel in both directions.
#pragma once

#include "models/cpu/bf16_kernels.hpp"

namespace scorenet::models::cpu {

/// Where the numbers of an image stand: by plane, by 32 channels (a chunk), by pixel, by channel.
class PixelPlanes {
 public:
  PixelPlanes(Area grid, int64_t step, int64_t channels);

  Area grid() const { return grid_; }
  int64_t pitch() const { return grid_.width + 2; }
  /// How many pixel numbers products run over, in whole tiles.
  int64_t numbers() const { return whole_depths(grid_.height * pitch()); }
  /// Pixels of a plane in memory: those numbers, and what taps reach around them.
  int64_t pixels() const { return whole_depths(numbers() + 2 * pitch() + 2); }

  int64_t planes() const { return step_ * step_; }
  int64_t chunks() const { return whole_depths(channels_) / kDepth; }
  int64_t chunk() const { return pixels() * kDepth; }
  int64_t plane() const { return chunks() * chunk(); }
  int64_t image() const { return planes() * plane(); }

  /// The plane of the image's pixel (y, x), and the pixel's number there.
  int64_t plane_of(int64_t y, int64_t x) const;
  int64_t pixel_of(int64_t y, int64_t x) const;
  /// Numbers from the image's start to a chunk of that pixel.
  int64_t at(int64_t chunk_number, int64_t y, int64_t x) const {
    return plane_of(y, x) * plane() + chunk_number * chunk() + pixel_of(y, x) * kDepth;
  }

  /// Rounds the first image of a view to `to`, which has image() numbers. The view's border must be
  /// zero.
  void read(const View& image, Bf16* to) const;

 private:
  void read_row(const View& image, int64_t y, int64_t x, Bf16* to) const;

  Area grid_;
  int64_t step_, channels_;
};

}  // namespace scorenet::models::cpu
