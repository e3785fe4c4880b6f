// Discrete data and the range [-1, 1] that models work in. The width of a level's bin is defined
// here and nowhere else.
//
// Of L levels, level k of 0..L-1 stands at x_k = 2 (k + 1/2) / L - 1, the middle of a bin of width
// 2 / L; the bins fill [-1, 1] (VDM, Kingma et al. 2021, 2107.00630, where L = 256). Pixels of
// 8 bit have 256.
#pragma once

#include <torch/types.h>

namespace scorenet {

inline constexpr int64_t kPixelLevels = 256;
inline constexpr double kPixelBinWidth = 2.0 / 256.0;

constexpr double bin_width(int64_t levels) { return 2.0 / static_cast<double>(levels); }

/// Levels (whole numbers of any type, any shape) to x_k of the given floating dtype. Nothing is
/// rounded in float32 or wider, where the number of levels is a power of two up to 65,536.
torch::Tensor data_from_pixels(const torch::Tensor& pixels, torch::Dtype dtype,
                               int64_t levels = kPixelLevels);

/// The pixel whose bin holds x, clamped to 0..255: uint8. Any shape, floating point.
torch::Tensor pixels_from_data(const torch::Tensor& x);
/// The same of any number of levels: int64.
torch::Tensor levels_from_data(const torch::Tensor& x, int64_t levels);

/// Stored examples in the range that models work in: levels become float32 in [-1, 1], real numbers
/// (levels 0) stay as they are.
torch::Tensor in_model_range(const torch::Tensor& stored, int64_t levels);

}  // namespace scorenet
