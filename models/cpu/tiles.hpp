// The matrix products in float32 of which convolutions, linear layers and attention are made. They
// keep a small tile of sums in registers.
//
// Every sum adds its terms in the order of the taps and their channels, whatever tile it is in. So
// the bits of a pixel's result depend on its own inputs only.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// One tap of a convolution: for each pixel of the result, the pixel of the input that it reads,
/// and the weights (depth, 16) for each block of results. Strides are in floats.
struct Tap {
  const float* pixel = nullptr;    // what the result's pixel (0, 0) reads
  int64_t step = 0, row = 0;       // to what the next pixel of the result, or the next row, reads
  int64_t depth = 0;               // channels read
  const float* weights = nullptr;  // for block 0 of the results
  int64_t block = 0;               // from one block's weights to the next one's
};

constexpr int64_t kMostTaps = 32;

/// Where a sum of taps goes: result + add + residual.
struct Target {
  float* pixel = nullptr;
  int64_t step = 0, row = 0;
  const float* add = nullptr;       // a number a channel, or null
  const float* residual = nullptr;  // as pixel, or null; may be pixel itself
  int64_t residual_step = 0, residual_row = 0;
};

/// Computes the blocks [first, last) of the sum of `count` taps (at most kMostTaps) at all pixels
/// of `area`.
void multiply_taps(const Tap* taps, int64_t count, Area area, int64_t first, int64_t last,
                   const Target& target);

/// A sum of outer products over pixels: sum[i][o] += x[i] d[o] at each pixel.
struct OuterProduct {
  const float* x = nullptr;
  const float* d = nullptr;
  float* sum = nullptr;
};
struct OuterShape {
  int64_t x_step = 0, x_row = 0;  // of x, as in Tap
  int64_t d_step = 0, d_row = 0;
  int64_t sum_row = 0;         // floats from sum[i] to sum[i + 1]
  int64_t sum_block = kBlock;  // from a block of sum[i] to the next
  int64_t rows = 0;            // how many numbers x has at a pixel
  int64_t blocks = 0;          // how many blocks d has
  bool first = false;          // overwrite `sum` in place of adding to it
};

/// Adds up `count` such products, all of one shape, over the pixels of `area`.
void add_outer_products(const OuterProduct* products, int64_t count, Area area,
                        const OuterShape& shape);

}  // namespace scorenet::models::cpu
