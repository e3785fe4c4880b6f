// Draws samples of any kind: images as they are, series as curves, volumes as slices.
#pragma once

#include <torch/types.h>

#include <filesystem>

namespace scorenet::data {

/// samples: (N, C, H, W), (N, C, L), (N, L) or (N, C, D, H, W), of any type. Real numbers are
/// scaled from the least to the greatest of each channel; NaN is black. Throws
/// ShapeError for other shapes and DataError if the file cannot be written.
void write_sample_picture(const std::filesystem::path& path, const torch::Tensor& samples);

/// Those samples as images (N, C', H, W) uint8, each at least some 64 pixels high or wide.
torch::Tensor picture_of_samples(const torch::Tensor& samples);

}  // namespace scorenet::data
