// 8-bit pixels and the range that models work in: the one place where the width of a level's
// bin is written.
//
// Level k of 0..255 stands at x_k = 2 (k + 1/2) / 256 - 1, the middle of a bin of width 2 / 256;
// the bins fill [-1, 1] (VDM, Kingma et al. 2021, 2107.00630).
#pragma once

#include <torch/types.h>

namespace scorenet {

inline constexpr int64_t kPixelLevels = 256;
inline constexpr double kPixelBinWidth = 2.0 / 256.0;

/// Levels (uint8, any shape) to x_k of the given floating dtype. Nothing is rounded in
/// float32 or wider.
torch::Tensor data_from_pixels(const torch::Tensor& pixels, torch::Dtype dtype);

/// The level whose bin holds x, clamped to 0..255: uint8. Any shape, floating point.
torch::Tensor pixels_from_data(const torch::Tensor& x);

/// Stored examples in the range that models work in: uint8 scaled to float32, real numbers
/// as they stand.
torch::Tensor in_model_range(const torch::Tensor& stored);

}  // namespace scorenet
