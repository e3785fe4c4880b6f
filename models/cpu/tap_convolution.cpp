#include "models/cpu/tap_convolution.hpp"

#include <algorithm>
#include <utility>

#include "models/cpu/convolution_target.hpp"
#include "models/cpu/for_each.hpp"
#include "models/cpu/tap_weights.hpp"
#include "models/cpu/tiles.hpp"

namespace scorenet::models::cpu {
namespace {

// Blocks of results that one pass over the images makes: their weights stay in the L2 cache.
constexpr int64_t kBlocksAtOnce = 4;
// Pixels that the gradient of the weights takes at once: both factors stay near, and the sums, of
// which there may be many, are read and written once for all of them.
constexpr int64_t kGradientPixels = 256;

}  // namespace

TapConvolution::TapConvolution(ConvolutionShape shape)
    : Convolution(std::move(shape)),
      rules_(tap_rules(shape_.form, shape_.area)),
      out_depth_(shape_.out_depth()) {
  forward_floats_ = taps_in(rules_.forward) * in_channels() * shape_.out_channels;
  backward_floats_ = taps_in(rules_.backward) * out_depth_ * in_whole();
  sum_floats_ = static_cast<int64_t>(rules_.gradient.size()) * in_channels() * shape_.out_channels;
}

// Of each phase: block of results, tap, position read, 16 results.
void TapConvolution::pack_weights(const std::vector<const float*>& parameters, float* to) const {
  for_each(shape_.out_channels / kBlock, [&](int64_t block) {
    const auto kernels = kernels_of_outputs(shape_, parameters, block);
    if (kernels == nullptr) return;
    float* of_phase = to;
    for (const Phase& phase : rules_.forward) {
      const int64_t floats = taps_in(phase) * in_channels() * kBlock;  // of a block
      tap_weights_of_outputs(shape_, kernels.get(), phase.taps, in_channels(),
                             of_phase + block * floats);
      of_phase += floats * shape_.out_channels / kBlock;
    }
  });
}

void TapConvolution::pack_backward(const std::vector<const float*>& parameters, float* to) const {
  for_each(in_whole() / kBlock, [&](int64_t block) {
    float* of_phase = to;
    for (const Phase& phase : rules_.backward) {
      const int64_t floats = taps_in(phase) * out_depth_ * kBlock;
      tap_weights_of_inputs(shape_, parameters, block, phase.taps, out_depth_,
                            of_phase + block * floats);
      of_phase += floats * in_whole() / kBlock;
    }
  });
}

void TapConvolution::run(const std::vector<Phase>& phases, const float* packed, const Grid& grid,
                         const View& x, const View& y, int64_t images,
                         const Epilogue& epilogue) const {
  const int64_t blocks = grid.channels / kBlock;
  const int64_t groups = (blocks + kBlocksAtOnce - 1) / kBlocksAtOnce;
  for (const Phase& phase : phases) {
    const int64_t count = taps_in(phase);
    for_each(groups * images, [&](int64_t item) {
      const int64_t group = item / images, n = item % images;
      Tap taps[kMostTaps];
      for (int64_t t = 0; t < count; ++t) {
        const TapRule& rule = phase.taps[static_cast<size_t>(t)];
        taps[t] = {x.at(n, rule.y, rule.x),
                   phase.in_step * x.step,
                   phase.in_step * x.row,
                   grid.depth,
                   packed + t * grid.depth * kBlock,
                   count * grid.depth * kBlock};
      }
      multiply_taps(taps, count, grid.area, group * kBlocksAtOnce,
                    std::min((group + 1) * kBlocksAtOnce, blocks),
                    target_of(phase, y, epilogue, n));
    });
    packed += count * grid.depth * grid.channels;
  }
}

void TapConvolution::forward(const float* packed, const Operand& x, const View& y, int64_t images,
                             const Epilogue& epilogue) const {
  run(rules_.forward, packed, {grid_of(y), in_channels(), shape_.out_channels}, x.view, y, images,
      epilogue);
}

void TapConvolution::input_gradient(const float* packed, const Operand& d_y, const View& d_x,
                                    int64_t images, const View* residual) const {
  Epilogue epilogue;
  epilogue.residual = residual;
  run(rules_.backward, packed, {grid_of(d_y.view), out_depth_, in_whole()}, d_y.view, d_x, images,
      epilogue);
}

void TapConvolution::add_weight_gradient(const Operand& x_images, const Operand& d_images,
                                         int64_t images, bool first, float* sums) const {
  const View &x = x_images.view, &d_y = d_images.view;
  OuterShape shape;
  shape.x_step = rules_.x_step * x.step;
  shape.x_row = rules_.x_step * x.row;
  shape.d_step = rules_.d_step * d_y.step;
  shape.d_row = rules_.d_step * d_y.row;
  shape.sum_row = kBlock;
  shape.sum_block = in_channels() * kBlock;
  shape.rows = in_channels();
  shape.blocks = shape_.out_channels / kBlock;
  const Area grid = grid_of(d_y);
  const auto taps = static_cast<int64_t>(rules_.gradient.size());
  const int64_t rows_at_once = std::max<int64_t>(kGradientPixels / grid.width, 1);
  at::parallel_for(0, taps, 1, [&](int64_t begin, int64_t end) {
    OuterProduct products[kMostTaps];
    OuterShape part = shape;
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t top = 0; top < grid.height; top += rows_at_once) {
        for (int64_t t = begin; t < end; ++t) {
          const GradientTap& tap = rules_.gradient[static_cast<size_t>(t)];
          products[t - begin] = {x.at(n, rules_.x_step * top + tap.x_y, tap.x_x),
                                 d_y.at(n, rules_.d_step * top + tap.d_y, tap.d_x),
                                 sums + t * in_channels() * shape_.out_channels};
        }
        const int64_t rows = std::min(rows_at_once, grid.height - top);
        part.first = first && n == 0 && top == 0;
        add_outer_products(products, end - begin, {rows, grid.width}, part);
      }
    }
  });
}

void TapConvolution::write_weight_gradient(const float* sums,
                                           const std::vector<float*>& gradients) const {
  write_tap_gradient(shape_, rules_.gradient, sums, in_channels(), gradients);
}

}  // namespace scorenet::models::cpu
