#include "models/cpu/winograd_convolution.hpp"

#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "models/cpu/for_each.hpp"
#include "models/cpu/tap_weights.hpp"
#include "models/cpu/tiles.hpp"
#include "models/cpu/winograd.hpp"
#include "models/cpu/winograd_weights.hpp"

namespace scorenet::models::cpu {
namespace {

// Fewer channels leave too little work to each plane, and fewer columns too few tiles.
constexpr int64_t kWinogradChannels = 32;
constexpr int64_t kWinogradWidth = 4;
// Pixels of an image from which tiles of 4x4 win: fewer do not repay reading 36 planes of weights.
constexpr int64_t kPixelsOfFour = 256;
// The fewest tiles of a strip: a plane's product then has some full register tiles.
constexpr int64_t kStripTiles = 32;

// Tile rows of all images, cut into strips. A strip moves `passes` times its planes of weights,
// in x out numbers, and its own, in + out a tile: about as much of both.
struct Strips {
  Strips(Area area, int64_t tile_side, int64_t images, int64_t in, int64_t out, int64_t passes)
      : side(tile_side),
        tiles(area.width / side),
        rows_of_image(area.height / side),
        rows(images * rows_of_image) {
    const int64_t wanted = std::max(passes * in * out / (in + out), kStripTiles);
    at_once = std::clamp<int64_t>((wanted + tiles - 1) / tiles, 1, std::max<int64_t>(rows, 1));
  }
  int64_t count() const { return (rows + at_once - 1) / at_once; }
  int64_t image(int64_t row) const { return row / rows_of_image; }
  int64_t top(int64_t row) const { return side * (row % rows_of_image); }  // in pixels

  int64_t side;   // of a tile, in pixels
  int64_t tiles;  // of a row
  int64_t rows_of_image;
  int64_t rows;
  int64_t at_once;  // rows of a strip
};

// Room for the planes of a strip. Some more between tiles and between planes: their addresses would
// else share the same few lines of the cache.
struct Planes {
  Planes(const Strips& strips, int64_t width)
      : row{strips.side, strips.tiles, width, width + kBlock,
            strips.at_once * strips.tiles * (width + kBlock) + 2 * kBlock},
        memory(torch::empty({winograd_planes(row.side) * row.plane}, torch::kFloat32)),
        first(memory.data_ptr<float>()) {}
  float* at_row(int64_t r) const { return first + r * row.tiles * row.step; }
  float* plane(int64_t p) const { return first + p * row.plane; }

  TileRow row;
  torch::Tensor memory;  // for its alignment
  float* first;
};

}  // namespace

int64_t winograd_side(const ConvolutionShape& s) {
  int64_t out = 0;
  for (const Part& part : s.out) out += part.channels;
  if (s.form != Form::same || s.in.size() % kBlock != 0) return 0;
  if (std::min(s.real_in_channels(), out) < kWinogradChannels || s.area.width < kWinogradWidth)
    return 0;
  const auto is_cut_by = [&](int64_t side) {
    return s.area.height % side == 0 && s.area.width % side == 0;
  };
  if (is_cut_by(4) && s.area.pixels() >= kPixelsOfFour) return 4;
  return is_cut_by(2) ? 2 : 0;
}

WinogradConvolution::WinogradConvolution(ConvolutionShape shape)
    : Convolution(std::move(shape)), side_(winograd_side(shape_)), planes_(winograd_planes(side_)) {
  forward_floats_ = backward_floats_ = sum_floats_ = planes_ * in_channels() * shape_.out_channels;
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
      if (c < 0) continue;
      winograd_weights(side_, kernels.get() + 9 * c * kBlock, 1, plane,
                       to + (block * in + i) * kBlock);
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
        winograd_weights(side_, kernels + 8 * kBlock, -1, plane,
                         to + (block * read + part.position + o) * kBlock);
      }
    }
  });
}

void WinogradConvolution::run(const float* packed, const View& x, const View& y, int64_t images,
                              const Epilogue& epilogue) const {
  const int64_t read = x.channels, made = y.channels;
  const Strips strips(shape_.area, side_, images, read, made, 1);
  at::parallel_for(0, strips.count(), 1, [&](int64_t begin, int64_t end) {
    const Planes v(strips, read), m(strips, made);
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t first = strip * strips.at_once;
      const int64_t rows = std::min(strips.at_once, strips.rows - first);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t n = strips.image(first + r), top = strips.top(first + r);
        winograd_input(v.row, x.at(n, top - 1, -1), x.step, x.row, v.at_row(r));
      }
      for (int64_t p = 0; p < planes_; ++p) {
        const Tap tap{v.plane(p), v.row.step, 0, read, packed + p * read * made, read * kBlock};
        Target target;
        target.pixel = m.plane(p);
        target.step = m.row.step;
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
        winograd_output(m.row, m.at_row(r), target);
      }
    }
  });
}

void WinogradConvolution::add_weight_gradient(const Operand& x_images, const Operand& d_images,
                                              int64_t images, bool first, float* sums) const {
  const View &x = x_images.view, &d_y = d_images.view;
  const int64_t in = x.channels, out = d_y.channels;
  const Strips strips(shape_.area, side_, images, in, out, 2);  // sums are read and written
  const Planes v(strips, in), z(strips, out);
  OuterShape shape;
  shape.x_step = v.row.step;
  shape.d_step = z.row.step;
  shape.sum_row = kBlock;  // as the weights lie: what is read and written comes in one piece
  shape.sum_block = in * kBlock;
  shape.rows = in;
  shape.blocks = out / kBlock;
  for (int64_t begin = 0; begin < strips.rows; begin += strips.at_once) {
    shape.first = first && begin == 0;
    const int64_t rows = std::min(strips.at_once, strips.rows - begin);
    for_each(rows, [&](int64_t r) {
      const int64_t n = strips.image(begin + r), top = strips.top(begin + r);
      winograd_input(v.row, x.at(n, top - 1, -1), x.step, x.row, v.at_row(r));
      winograd_gradient(z.row, d_y.at(n, top, 0), d_y.step, d_y.row, z.at_row(r));
    });
    for_each(planes_, [&](int64_t p) {
      const OuterProduct product{v.plane(p), z.plane(p), sums + p * in * out};
      add_outer_products(&product, 1, {1, rows * strips.tiles}, shape);
    });
  }
}

void WinogradConvolution::write_weight_gradient(const float* sums,
                                                const std::vector<float*>& gradients) const {
  const int64_t in = in_channels(), out = shape_.out_channels;
  for_each(in / kBlock, [&](int64_t block) {
    std::vector<float> kernels(static_cast<size_t>(out * 9 * kBlock));
    for (int64_t o = 0; o < out; o += kBlock) {
      const float* of_inputs = sums + (o / kBlock * in + block * kBlock) * kBlock;
      for (int64_t j = 0; j < kBlock; ++j) {
        winograd_kernels(side_, of_inputs + j * kBlock, in * out,
                         kernels.data() + (o + j) * 9 * kBlock);
      }
    }
    write_kernels(shape_, block, kernels, gradients);
  });
}

}  // namespace scorenet::models::cpu
