#include "models/cpu/pixel_planes.hpp"

#include <algorithm>

namespace scorenet::models::cpu {
namespace {

void clear(Bf16* to, int64_t pixels, int64_t chunks, int64_t chunk) {
  for (int64_t j = 0; j < chunks; ++j) std::fill_n(to + j * chunk, pixels * kDepth, Bf16{0});
}

}  // namespace

PixelPlanes::PixelPlanes(Area grid, int64_t step, int64_t channels)
    : grid_(grid), step_(step), channels_(channels) {}

int64_t PixelPlanes::plane_of(int64_t y, int64_t x) const {
  return step_ == 1 ? 0 : (y & 1) * 2 + (x & 1);
}

int64_t PixelPlanes::pixel_of(int64_t y, int64_t x) const {
  const auto place = [this](int64_t a) { return step_ == 1 ? a : (a - (a & 1)) / 2; };
  return (1 + place(y)) * pitch() + 1 + place(x);
}

// A row of a plane, from the pixel left of its first one on: pixels (y, x), (y, x + step) and so
// on, as far as the image and its border have them.
void PixelPlanes::read_row(const View& image, int64_t y, int64_t x, Bf16* to) const {
  if (y < -1 || y > image.area.height) return clear(to, pitch(), chunks(), chunk());
  int64_t first = 0, last = pitch();
  while (x + first * step_ < -1) ++first;
  while (x + (last - 1) * step_ > image.area.width) --last;
  clear(to, first, chunks(), chunk());
  clear(to + last * kDepth, pitch() - last, chunks(), chunk());
  round_pixels(image.at(0, y, x + first * step_), step_ * image.step, last - first, channels_,
               to + first * kDepth, chunk());
}

void PixelPlanes::read(const View& image, Bf16* to) const {
  const int64_t used = (grid_.height + 2) * pitch();
  for (int64_t n = 0; n < planes(); ++n, to += plane()) {
    const int64_t y = n / step_, x = n % step_;
    if (step_ == 1 && image.row == pitch() * image.step) {
      round_pixels(image.at(0, -1, -1), image.step, used, channels_, to, chunk());
    } else {
      for (int64_t i = -1; i <= grid_.height; ++i)
        read_row(image, y + i * step_, x - step_, to + (i + 1) * pitch() * kDepth);
    }
    clear(to + used * kDepth, pixels() - used, chunks(), chunk());
  }
}

}  // namespace scorenet::models::cpu
