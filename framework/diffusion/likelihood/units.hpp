// Units of likelihoods, and the one place where the width of a pixel's bin enters.
//
// 8-bit data lives on the 256 levels x_k = 2 (k + 1/2) / 256 - 1, the middles of bins of width 2 / 256 that fill [-1, 1].
// A density p(y) of dequantised data bounds a probability: -log P(k) <= E[-log p(y) + log q(y given k)]. Uniform noise has
// log q = -log(bin width) a dimension, that is +7 bits on [-1, 1] and +8 bits on [0, 1]; continuous data gets nothing.
#pragma once

#include <torch/types.h>

namespace scorenet::diffusion {

inline constexpr int64_t kPixelLevels = 256;
inline constexpr double kPixelBinWidth = 2.0 / 256.0;

/// nats / (dims log 2); any shape, or a number.
torch::Tensor bits_per_dim(const torch::Tensor& nats, int64_t dims);
double bits_per_dim(double nats, int64_t dims);

/// -dims log(bin_width): what uniform dequantisation adds to -log p(y), in nats. Throws ConfigError if bin_width <= 0.
double uniform_dequantisation_offset_nats(int64_t dims, double bin_width = kPixelBinWidth);

/// Pixels (uint8, any shape) to x_k in [-1, 1] of the given floating dtype.
torch::Tensor data_from_pixels(const torch::Tensor& pixels, torch::Dtype dtype);

/// The level k of each x_k, int64, clamped to 0..255 (a sample is quantised the same way).
torch::Tensor nearest_levels(const torch::Tensor& x);

/// Throws DataError naming the first value unless every number of x0 is one of the x_k (to 1e-3 of a bin).
void check_on_pixel_levels(const torch::Tensor& x0);

}  // namespace scorenet::diffusion
