// Matrix products of small register tiles, of which convolutions, linear layers and attention are
// made.
//
// Every sum runs over its terms in the order of the taps and their channels, whatever the tile's
// place or size: a pixel's result depends on nothing but its own inputs.
#pragma once

#include "models/cpu/view.hpp"

namespace scorenet::models::cpu {

/// One tap of a convolution: a pixel of the input for each pixel of the result, and weights.
struct Tap {
  const float* pixel = nullptr;    // the one that the result's pixel (0, 0) reads
  int64_t step = 0, row = 0;       // from what a pixel reads to what the next one, or row, reads
  int64_t depth = 0;               // channels read
  const float* weights = nullptr;  // of block 0 of the result: depth x 16 numbers
  int64_t block = 0;               // from these to those of the next block
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

/// The blocks [first, last) of a sum of `count` taps, at most kMostTaps, at all pixels of `area`.
void multiply_taps(const Tap* taps, int64_t count, Area area, int64_t first, int64_t last,
                   const Target& target);

/// One sum of outer products: sum[i][o] += over all pixels x[i] d[o].
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
  int64_t rows = 0;            // numbers of x
  int64_t blocks = 0;          // of d
  bool first = false;          // nothing is in `sum` yet: it is overwritten
};

/// The same for several products of one shape.
void add_outer_products(const OuterProduct* products, int64_t count, Area area,
                        const OuterShape& shape);

}  // namespace scorenet::models::cpu
