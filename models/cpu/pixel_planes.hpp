// Images as bfloat16 matrices of pixels, which every tap of a convolution reads at a shift.
//
// A plane holds every `step`-th pixel of an image in both directions: step x step planes in all.
// Its pixels are numbered row by row, border included, so pixel (y, x) of the grid is number
// y pitch + x behind pixel (0, 0). A product over all numbers of the grid reads some that belong to
// no pixel: their results are dropped, or meet zeros.
#pragma once

#include "models/cpu/bf16_kernels.hpp"

namespace scorenet::models::cpu {

/// Where the numbers of one image's planes stand: plane, 32 channels (a chunk), pixel, channel.
class PixelPlanes {
 public:
  PixelPlanes(Area grid, int64_t step, int64_t channels);

  Area grid() const { return grid_; }
  int64_t pitch() const { return grid_.width + 2; }
  /// Pixel numbers that products run over: whole tiles.
  int64_t numbers() const { return whole_depths(grid_.height * pitch()); }
  /// Pixels of a plane: the numbers, and as far as taps reach around them.
  int64_t pixels() const { return whole_depths(numbers() + 2 * pitch() + 2); }

  int64_t planes() const { return step_ * step_; }
  int64_t chunks() const { return whole_depths(channels_) / kDepth; }
  int64_t chunk() const { return pixels() * kDepth; }
  int64_t plane() const { return chunks() * chunk(); }
  int64_t image() const { return planes() * plane(); }

  /// The pixel that is (y, x) away from the image's (0, 0): its plane, and its place there.
  int64_t plane_of(int64_t y, int64_t x) const;
  int64_t pixel_of(int64_t y, int64_t x) const;
  /// From the image's start to the chunk of that pixel.
  int64_t at(int64_t chunk_number, int64_t y, int64_t x) const {
    return plane_of(y, x) * plane() + chunk_number * chunk() + pixel_of(y, x) * kDepth;
  }

  /// Rounds the first image of a view, whose border is zero, to all image() numbers of `to`.
  void read(const View& image, Bf16* to) const;

 private:
  void read_row(const View& image, int64_t y, int64_t x, Bf16* to) const;

  Area grid_;
  int64_t step_, channels_;
};

}  // namespace scorenet::models::cpu
