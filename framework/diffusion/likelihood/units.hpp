// Units of likelihoods. The width of a pixel's bin is that of core/pixels.hpp.
//
// Data of L levels lives on x_k = 2 (k + 1/2) / L - 1, the middles of bins of width 2 / L that fill
// [-1, 1]; 8-bit data has L = 256. A density p(y) of dequantised data bounds a probability: -log
// P(k) <= E[-log p(y) + log q(y given k)]. Uniform noise has log q = -log(bin width) a dimension,
// for 256 levels +7 bits on [-1, 1] and +8 bits on [0, 1]; continuous data gets nothing.
#pragma once

#include <torch/types.h>

#include "framework/core/pixels.hpp"

namespace scorenet::diffusion {

/// nats / (dims log 2); any shape, or a number.
torch::Tensor bits_per_dim(const torch::Tensor& nats, int64_t dims);
double bits_per_dim(double nats, int64_t dims);

/// -dims log(bin_width): what uniform dequantisation adds to -log p(y), in nats. Throws ConfigError
/// if bin_width <= 0.
double uniform_dequantisation_offset_nats(int64_t dims, double bin_width = kPixelBinWidth);

/// Throws DataError naming the first value unless every number of x0 is one of the x_k
/// (to 1e-3 of a bin).
void check_on_pixel_levels(const torch::Tensor& x0, int64_t levels = kPixelLevels);

}  // namespace scorenet::diffusion
