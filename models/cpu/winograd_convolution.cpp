#include "models/cpu/winograd_convolution.hpp"

#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "models/cpu/for_each.hpp"
#include "models/cpu/tap_weights.hpp"
#include "models/cpu/tiles.hpp"
#include "models/cpu/winograd.hpp"

namespace scorenet::models::cpu {
namespace {

// Fewer channels leave too little work to each plane, and fewer columns too few tiles.
constexpr int64_t kWinogradChannels = 32;
constexpr int64_t kWinogradWidth = 4;
// The fewest tiles of a strip: a plane's product then has some full register tiles.
constexpr int64_t kStripTiles = 32;

// Tile rows of all images, cut into strips. A strip moves `passes` times its planes of weights,
// in x out numbers, and its own, in + out a tile: about as much of both.
struct Strips {
  Strips(Area area, int64_t images, int64_t in, int64_t out, int64_t passes)
      : tiles(area.width / 2), rows_of_image(area.height / 2), rows(images * rows_of_image) {
    const int64_t wanted = std::max(passes * in * out / (in + out), kStripTiles);
    at_once = std::clamp<int64_t>((wanted + tiles - 1) / tiles, 1, std::max<int64_t>(rows, 1));
  }
  int64_t count() const { return (rows + at_once - 1) / at_once; }
  int64_t image(int64_t row) const { return row / rows_of_image; }
  int64_t top(int64_t row) const { return 2 * (row % rows_of_image); }  // in pixels

  int64_t tiles;  // of a row
  int64_t rows_of_image;
  int64_t rows;
  int64_t at_once;  // rows of a strip
};

// Room for the planes of a strip. Some more between planes: their addresses would else share the
// same few lines of the cache.
struct Planes {
  Planes(int64_t tiles, int64_t width)
      : channels(width),
        plane(tiles * width + 2 * kBlock),
        memory(torch::empty({kWinogradPlanes * plane}, torch::kFloat32)),
        first(memory.data_ptr<float>()) {}
  TileRow row(int64_t tiles) const { return {tiles, channels, plane}; }
  float* at(int64_t tile) const { return first + tile * channels; }

  int64_t channels, plane;
  torch::Tensor memory;  // for its alignment
  float* first;
};

// k G^T or, applied twice, G k G^T: three numbers become four.
template <class Out>
void winograd_weights(const float* k0, const float* k1, const float* k2, const Out& out) {
  for (int64_t l = 0; l < kBlock; ++l) {
    const float a = k0[l], b = k1[l], c = k2[l];
    out(0, l) = a;
    out(1, l) = 0.5f * (a + b + c);
    out(2, l) = 0.5f * (a - b + c);
    out(3, l) = c;
  }
}

// U = G k G^T of 16 kernels, whose entries are `step` blocks of 16 numbers apart (backward: -1, the
// kernel flipped). Number p of U goes to the plane p.
void write_planes(const float* kernels, int64_t step, int64_t plane, float* to) {
  alignas(64) float u[3][4][kBlock];
  const auto entry = [&](int64_t e) { return kernels + e * step * kBlock; };
  for (int64_t x = 0; x < 3; ++x) {
    winograd_weights(entry(x), entry(3 + x), entry(6 + x),
                     [&](int64_t y, int64_t l) -> float& { return u[x][y][l]; });
  }
  for (int64_t y = 0; y < 4; ++y) {
    winograd_weights(u[0][y], u[1][y], u[2][y],
                     [&](int64_t x, int64_t l) -> float& { return to[(4 * y + x) * plane + l]; });
  }
}

// dk = G^T dU G of 16 kernels: the nine entries one behind the other.
void kernels_of_planes(const float* u, int64_t plane, float* kernels) {
  alignas(64) float t[3][4][kBlock];
  for (int64_t x = 0; x < 4; ++x) {
    const float* a = u + x * plane;
    const float *b = a + 4 * plane, *c = a + 8 * plane, *d = a + 12 * plane;
    for (int64_t l = 0; l < kBlock; ++l) {
      t[0][x][l] = a[l] + 0.5f * (b[l] + c[l]);
      t[1][x][l] = 0.5f * (b[l] - c[l]);
      t[2][x][l] = 0.5f * (b[l] + c[l]) + d[l];
    }
  }
  for (int64_t y = 0; y < 3; ++y, kernels += 3 * kBlock) {
    const auto& r = t[y];
    for (int64_t l = 0; l < kBlock; ++l) {
      kernels[l] = r[0][l] + 0.5f * (r[1][l] + r[2][l]);
      kernels[kBlock + l] = 0.5f * (r[1][l] - r[2][l]);
      kernels[2 * kBlock + l] = 0.5f * (r[1][l] + r[2][l]) + r[3][l];
    }
  }
}

}  // namespace

bool fits_winograd(const ConvolutionShape& s) {
  int64_t out = 0;
  for (const Part& part : s.out) out += part.channels;
  return s.form == Form::same && s.in.size() % kBlock == 0 &&
         s.real_in_channels() >= kWinogradChannels && out >= kWinogradChannels &&
         s.area.height % 2 == 0 && s.area.width % 2 == 0 && s.area.width >= kWinogradWidth;
}

WinogradConvolution::WinogradConvolution(ConvolutionShape shape) : Convolution(std::move(shape)) {
  forward_floats_ = backward_floats_ = sum_floats_ =
      kWinogradPlanes * in_channels() * shape_.out_channels;
}

// Plane p, block of results, position read, 16 results.
void WinogradConvolution::pack_weights(const std::vector<const float*>& parameters,
                                       float* to) const {
  const int64_t in = in_channels(), plane = in * shape_.out_channels;
  for_each(shape_.out_channels / kBlock, [&](int64_t block) {
    const auto kernels = kernels_of_outputs(shape_, parameters, block);
    if (kernels == nullptr) return;
    for (int64_t i = 0; i < in; ++i) {
      const int64_t c = shape_.in[static_cast<size_t>(i)];
      if (c >= 0)
        write_planes(kernels.get() + 9 * c * kBlock, 1, plane, to + (block * in + i) * kBlock);
    }
  });
}

// The kernel is flipped, and what it reads are the results.
void WinogradConvolution::pack_backward(const std::vector<const float*>& parameters,
                                        float* to) const {
  const int64_t read = shape_.out_channels, plane = in_channels() * read;
  const int64_t numbers = 9 * shape_.real_in_channels();
  for_each(in_channels() / kBlock, [&](int64_t block) {
    alignas(64) float kernels[9 * kBlock];
    for (const Part& part : shape_.out) {
      const float* row = parameters[static_cast<size_t>(part.weight)];
      for (int64_t o = 0; o < part.channels; ++o, row += numbers) {
        kernels_of_inputs(shape_, row, block, kernels);
        write_planes(kernels + 8 * kBlock, -1, plane,
                     to + (block * read + part.position + o) * kBlock);
      }
    }
  });
}

void WinogradConvolution::run(const float* packed, const View& x, const View& y, int64_t images,
                              const Epilogue& epilogue) const {
  const int64_t read = x.channels, made = y.channels;
  const Strips strips(shape_.area, images, read, made, 1);
  at::parallel_for(0, strips.count(), 1, [&](int64_t begin, int64_t end) {
    const Planes v(strips.at_once * strips.tiles, read), m(strips.at_once * strips.tiles, made);
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t first = strip * strips.at_once;
      const int64_t rows = std::min(strips.at_once, strips.rows - first);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t n = strips.image(first + r), top = strips.top(first + r);
        winograd_input(v.row(strips.tiles), x.at(n, top - 1, -1), x.step, x.row,
                       v.at(r * strips.tiles));
      }
      for (int64_t p = 0; p < kWinogradPlanes; ++p) {
        const Tap tap{v.at(0) + p * v.plane,    read,         0, read,
                      packed + p * read * made, read * kBlock};
        Target target;
        target.pixel = m.at(0) + p * m.plane;
        target.step = made;
        multiply_taps(&tap, 1, {1, rows * strips.tiles}, 0, made / kBlock, target);
      }
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t n = strips.image(first + r), top = strips.top(first + r);
        WinogradTarget target;
        target.corner = y.at(n, top, 0);
        target.step = y.step;
        target.row = y.row;
        if (epilogue.add != nullptr) target.add = epilogue.add + n * epilogue.add_image;
        if (epilogue.residual != nullptr) {
          target.residual = epilogue.residual->at(n, top, 0);
          target.residual_step = epilogue.residual->step;
          target.residual_row = epilogue.residual->row;
        }
        winograd_output(m.row(strips.tiles), m.at(r * strips.tiles), target);
      }
    }
  });
}

void WinogradConvolution::add_weight_gradient(const Operand& x_images, const Operand& d_images,
                                              int64_t images, bool first, float* sums) const {
  if (first) std::fill_n(sums, sum_floats_, 0.0f);
  const View &x = x_images.view, &d_y = d_images.view;
  const int64_t in = x.channels, out = d_y.channels;
  const Strips strips(shape_.area, images, in, out, 2);  // sums are read and written
  const Planes v(strips.at_once * strips.tiles, in), z(strips.at_once * strips.tiles, out);
  OuterShape shape;
  shape.x_step = in;
  shape.d_step = out;
  shape.sum_row = out;
  shape.rows = in;
  shape.blocks = out / kBlock;
  for (int64_t begin = 0; begin < strips.rows; begin += strips.at_once) {
    const int64_t rows = std::min(strips.at_once, strips.rows - begin);
    for_each(rows, [&](int64_t r) {
      const int64_t n = strips.image(begin + r), top = strips.top(begin + r);
      winograd_input(v.row(strips.tiles), x.at(n, top - 1, -1), x.step, x.row,
                     v.at(r * strips.tiles));
      winograd_gradient(z.row(strips.tiles), d_y.at(n, top, 0), d_y.step, d_y.row,
                        z.at(r * strips.tiles));
    });
    for_each(kWinogradPlanes, [&](int64_t p) {
      const OuterProduct product{v.at(0) + p * v.plane, z.at(0) + p * z.plane, sums + p * in * out};
      add_outer_products(&product, 1, {1, rows * strips.tiles}, shape);
    });
  }
}

void WinogradConvolution::write_weight_gradient(const float* sums,
                                                const std::vector<float*>& gradients) const {
  const int64_t in = in_channels(), out = shape_.out_channels;
  for_each(in / kBlock, [&](int64_t block) {
    std::vector<float> kernels(static_cast<size_t>(out * 9 * kBlock));
    for (int64_t j = 0; j < kBlock; ++j) {
      const float* row = sums + (block * kBlock + j) * out;
      for (int64_t o = 0; o < out; o += kBlock)
        kernels_of_planes(row + o, in * out, kernels.data() + (o + j) * 9 * kBlock);
    }
    write_kernels(shape_, block, kernels, gradients);
  });
}

}  // namespace scorenet::models::cpu
