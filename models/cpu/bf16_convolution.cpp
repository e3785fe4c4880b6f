#include "models/cpu/bf16_convolution.hpp"

#include <algorithm>
#include <utility>

#include "models/cpu/convolution_target.hpp"
#include "models/cpu/for_each.hpp"
#include "models/cpu/tap_weights.hpp"

namespace scorenet::models::cpu {
namespace {

// Pixels over which the gradient of the weights sums up before it reads and writes its sums.
constexpr int64_t kPixelsAtOnce = 512;

int64_t whole_tiles(int64_t rows) { return (rows + kTile - 1) / kTile * kTile; }
int64_t pairs_of(int64_t tiles) { return (tiles + 1) / 2; }

// Packed weights and scratch are counted in floats.
Bf16* numbers_in(float* floats) { return reinterpret_cast<Bf16*>(floats); }
const Bf16* numbers_in(const float* floats) { return reinterpret_cast<const Bf16*>(floats); }
Bf16* numbers_in(const torch::Tensor& memory) { return static_cast<Bf16*>(memory.data_ptr()); }

// Image n of x, rounded into `memory` unless it is already.
const Bf16* rounded_image(const Operand& x, int64_t n, const PixelPlanes& planes,
                          const torch::Tensor& memory) {
  if (x.rounded != nullptr) return x.rounded + n * x.rounded_image;
  planes.read(x.view.from_image(n), numbers_in(memory));
  return numbers_in(memory);
}

// The same from another channel on.
Target from_channel(Target target, int64_t channel) {
  target.pixel += channel;
  if (target.add != nullptr) target.add += channel;
  if (target.residual != nullptr) target.residual += channel;
  return target;
}

}  // namespace

struct Bf16Convolution::Direction {
  const std::vector<Phase>& phases;
  const float* packed;
  const PixelPlanes& read;
  int64_t blocks;  // of results
};

Bf16Convolution::Bf16Convolution(ConvolutionShape shape, const Arenas& scratch)
    : Convolution(std::move(shape)),
      rules_(tap_rules(shape_.form, shape_.area)),
      out_depth_(shape_.out_depth()),
      x_(rules_.grid, rules_.x_step, in_channels()),
      d_(rules_.grid, rules_.d_step, out_depth_),
      scratch_(scratch) {
  for (int64_t b = 0; b < blocks_of(in_channels()); ++b)
    runs_.push_back(channels_of_block(shape_, b));
  forward_floats_ = taps_in(rules_.forward) * whole_depths(in_channels()) * shape_.out_channels / 2;
  backward_floats_ = taps_in(rules_.backward) * whole_depths(out_depth_) * in_whole() / 2;
  sum_floats_ = static_cast<int64_t>(rules_.gradient.size()) * whole_tiles(in_channels()) *
                shape_.out_channels;
}

// Rows of weights of one tap for a block of inputs by a block of outputs, `row` floats apart. A tap
// of several entries has its sums in `memory`.
struct Bf16Convolution::Square {
  const float* first;
  int64_t row;
};

Bf16Convolution::Square Bf16Convolution::square_of(const float* kernels, const ChannelRun& run,
                                                   const TapRule& tap, float* memory) const {
  const int64_t entries = kernel_entries(shape_.form);
  const float* first = kernels + run.first * entries * kBlock;
  if (tap.entries.size() == 1) return {first + tap.entries[0] * kBlock, entries * kBlock};
  for (int64_t i = 0; i < run.count; ++i)
    sum_entries(first + i * entries * kBlock, tap.entries, memory + i * kBlock);
  return {memory, kBlock};
}

// Of each phase: block of results, tap, position read by pairs, 16 results.
void Bf16Convolution::pack_outputs(const float* kernels, int64_t block, Bf16* to) const {
  alignas(64) float memory[kBlock * kBlock];
  const int64_t depth = whole_depths(in_channels());
  for (const Phase& phase : rules_.forward) {
    Bf16* of_tap = to + block * taps_in(phase) * depth * kBlock;
    for (const TapRule& tap : phase.taps) {
      for (int64_t b = 0; b < blocks_of(in_channels()); ++b) {
        const ChannelRun& run = runs_[static_cast<size_t>(b)];
        if (run.count == 0) continue;
        const Square from = square_of(kernels, run, tap, memory);
        pair_rows(from.first, from.row, run.count, of_tap + b * kBlock * kBlock);
      }
      of_tap += depth * kBlock;
    }
    to += taps_in(phase) * depth * shape_.out_channels;
  }
}

void Bf16Convolution::pack_inputs(const float* kernels, int64_t block, Bf16* to) const {
  alignas(64) float memory[kBlock * kBlock];
  const int64_t depth = whole_depths(out_depth_);
  for (const Phase& phase : rules_.backward) {
    for (int64_t b = 0; b < in_whole() / kBlock; ++b) {
      const ChannelRun& run = runs_[static_cast<size_t>(b)];
      Bf16* of_tap = to + (b * taps_in(phase) * depth + block * kBlock) * kBlock;
      for (const TapRule& tap : phase.taps) {
        const Square from = square_of(kernels, run, tap, memory);
        if (run.count > 0) pair_columns(from.first, from.row, run.count, of_tap);
        of_tap += depth * kBlock;
      }
    }
    to += taps_in(phase) * depth * in_whole();
  }
}

void Bf16Convolution::pack_weights_both(const std::vector<const float*>& parameters, float* forward,
                                        float* backward) const {
  for_each(shape_.out_channels / kBlock, [&](int64_t block) {
    const auto kernels = kernels_of_outputs(shape_, parameters, block);
    if (kernels == nullptr) return;
    if (forward != nullptr) pack_outputs(kernels.get(), block, numbers_in(forward));
    if (backward != nullptr) pack_inputs(kernels.get(), block, numbers_in(backward));
  });
}

// All pixel numbers of the grid, two tiles at a time, by two blocks of results.
void Bf16Convolution::run_phase(const Direction& to, const Phase& phase, const Bf16* weights,
                                const Bf16* x, const Target& target) const {
  std::vector<int64_t> offsets;
  for (const TapRule& tap : phase.taps)
    for (int64_t j = 0; j < to.read.chunks(); ++j) offsets.push_back(to.read.at(j, tap.y, tap.x));
  const auto steps = static_cast<int64_t>(offsets.size());
  const int64_t last = rules_.grid.height * to.read.pitch();
  at::parallel_for(0, pairs_of(to.blocks), 1, [&](int64_t begin, int64_t end) {
    const Bf16Scope scope;
    alignas(64) float c[2 * kTile * kDepth];
    Bf16Product p;
    p.a_row = kDepth;
    p.offsets = offsets.data();
    p.steps = steps;
    p.b_block = steps * kPairTile;
    p.c = c;
    p.c_row = kDepth;
    for (int64_t pair = begin; pair < end; ++pair) {
      p.b = weights + 2 * pair * steps * kPairTile;
      p.blocks = std::min<int64_t>(2, to.blocks - 2 * pair);
      const Target of_pair = from_channel(target, pair * kDepth);
      for (int64_t q = 0; q < last; q += 2 * kTile) {
        p.a = x + q * kDepth;
        p.row_tiles = last - q > kTile ? 2 : 1;
        multiply(p);
        write_pixels(c, q, p.row_tiles * kTile, to.read.pitch(), p.blocks, rules_.grid, of_pair);
      }
    }
  });
}

void Bf16Convolution::run(const Direction& to, const Operand& x, const View& y, int64_t images,
                          const Epilogue& epilogue) const {
  at::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) {
    torch::Tensor memory;
    if (x.rounded == nullptr) memory = scratch_.lend(to.read.image() / 2);
    for (int64_t n = begin; n < end; ++n) {
      const Bf16* rounded = rounded_image(x, n, to.read, memory);
      const Bf16* weights = numbers_in(to.packed);
      for (const Phase& phase : to.phases) {
        run_phase(to, phase, weights, rounded, target_of(phase, y, epilogue, n));
        weights += taps_in(phase) * to.read.chunks() * to.blocks * kPairTile;
      }
    }
  });
}

void Bf16Convolution::forward(const float* packed, const Operand& x, const View& y, int64_t images,
                              const Epilogue& epilogue) const {
  run({rules_.forward, packed, x_, shape_.out_channels / kBlock}, x, y, images, epilogue);
}

void Bf16Convolution::input_gradient(const float* packed, const Operand& d_y, const View& d_x,
                                     int64_t images, const View* residual) const {
  run({rules_.backward, packed, d_, in_whole() / kBlock}, d_y, d_x, images, {nullptr, 0, residual});
}

Operand Bf16Convolution::prepared(const Operand& d_y, int64_t images, torch::Tensor& memory) const {
  if (d_y.rounded != nullptr) return d_y;
  memory = scratch_.lend(images * d_.image() / 2);
  const Operand rounded(d_y.view, numbers_in(memory), d_.image());
  for_each(images, [&](int64_t n) {
    d_.read(d_y.view.from_image(n), rounded.rounded + n * rounded.rounded_image);
  });
  return rounded;
}

// sums[tap][i][o] += over images and pixel numbers x[i][number + shift] d[number][o]: x by
// channels, d by pairs of pixels. What belongs to no pixel is zero in d.
struct Bf16Convolution::Factors {
  torch::Tensor x, d;
  int64_t x_row = 0, x_plane = 0, x_image = 0;  // x: image, plane, channel, pixel
  int64_t d_block = 0, d_plane = 0;             // d: plane, block, image, pair of pixels, channel
  int64_t images = 0;
};

Bf16Convolution::Factors Bf16Convolution::factors(const Operand& x, const Operand& d_y,
                                                  int64_t images) const {
  Factors f;
  f.images = images;
  f.x_row = x_.pixels() + kDepth;  // no power of two, whose rows would share cache lines
  f.x_plane = x_.chunks() * kDepth * f.x_row;
  f.x_image = x_.planes() * f.x_plane;
  f.d_block = images * d_.numbers() * kBlock;
  f.d_plane = d_.chunks() * 2 * f.d_block;
  f.x = scratch_.lend(images * f.x_image / 2);
  f.d = scratch_.lend(d_.planes() * f.d_plane / 2);
  at::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) {
    torch::Tensor memory;
    if (x.rounded == nullptr) memory = scratch_.lend(x_.image() / 2);
    for (int64_t n = begin; n < end; ++n) {
      const Bf16* from = rounded_image(x, n, x_, memory);
      for (int64_t j = 0; j < x_.planes() * x_.chunks(); ++j) {
        transpose_pixels(from + j * x_.chunk(), x_.pixels(),
                         numbers_in(f.x) + n * f.x_image + j * kDepth * f.x_row, f.x_row);
      }
      const Bf16* d = d_y.rounded + n * d_y.rounded_image;
      for (int64_t plane = 0; plane < d_.planes(); ++plane) {
        for (int64_t j = 0; j < d_.chunks(); ++j) {
          pair_pixels(
              d + d_.at(j, plane / 2, plane % 2), d_.numbers(),
              numbers_in(f.d) + plane * f.d_plane + 2 * j * f.d_block + n * d_.numbers() * kBlock,
              f.d_block);
        }
      }
    }
  });
  return f;
}

// Two tiles of rows by two blocks of columns, of all taps: they share what they read.
void Bf16Convolution::add_products(const Factors& f, int64_t rows, int64_t columns, bool first,
                                   float* sums) const {
  const int64_t out = shape_.out_channels, all_rows = whole_tiles(in_channels());
  std::vector<int64_t> offsets;
  for (int64_t n = 0; n < f.images; ++n)
    for (int64_t q = 0; q < d_.numbers(); q += kDepth) offsets.push_back(n * f.x_image + q);
  const Bf16Scope scope;
  Bf16Product p;
  p.a_row = f.x_row;
  p.offsets = offsets.data();
  p.steps = static_cast<int64_t>(offsets.size());
  p.b_block = f.d_block;
  p.c_row = kBlock;
  p.c_block = all_rows * kBlock;
  p.add = !first;
  p.row_tiles = std::min<int64_t>(2, all_rows / kTile - 2 * rows);
  p.blocks = std::min<int64_t>(2, out / kBlock - 2 * columns);
  p.c = sums + (2 * columns * all_rows + rows * 2 * kTile) * kBlock;
  for (const GradientTap& tap : rules_.gradient) {
    p.a = numbers_in(f.x) + x_.plane_of(tap.x_y, tap.x_x) * f.x_plane + rows * 2 * kTile * f.x_row +
          x_.pixel_of(tap.x_y, tap.x_x);
    p.b = numbers_in(f.d) + d_.plane_of(tap.d_y, tap.d_x) * f.d_plane + 2 * columns * f.d_block;
    multiply(p);
    p.c += all_rows * out;
  }
}

void Bf16Convolution::add_weight_gradient(const Operand& x, const Operand& d_y, int64_t images,
                                          bool first, float* sums) const {
  torch::Tensor memory;
  const Operand d = prepared(d_y, images, memory);
  const int64_t at_once = std::clamp<int64_t>(kPixelsAtOnce / d_.numbers(), 1, images);
  const int64_t rows = pairs_of(whole_tiles(in_channels()) / kTile);
  const int64_t columns = pairs_of(shape_.out_channels / kBlock);
  for (int64_t n = 0; n < images; n += at_once) {
    Operand some_x = x, some_d = d;
    some_x.view = x.view.from_image(n);
    if (x.rounded != nullptr) some_x.rounded += n * x.rounded_image;
    some_d.rounded += n * d.rounded_image;
    const Factors f = factors(some_x, some_d, std::min(at_once, images - n));
    for_each(rows * columns,
             [&](int64_t i) { add_products(f, i / columns, i % columns, first && n == 0, sums); });
  }
}

void Bf16Convolution::write_weight_gradient(const float* sums,
                                            const std::vector<float*>& gradients) const {
  write_tap_gradient(shape_, rules_.gradient, sums, whole_tiles(in_channels()), gradients);
}

}  // namespace scorenet::models::cpu
