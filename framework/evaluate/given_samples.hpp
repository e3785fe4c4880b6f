// Samples that some program has drawn before: pictures of a folder, or the samples.h5 of `sample`.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

namespace scorenet::evaluate {

/// The first `most` samples (0: all), (N, example_shape...) float64. A folder: its PNG, JPEG and
/// WebP files, folders below it too, in the order of their sorted paths, as values in [-1, 1]; grey
/// ones serve for colours. An HDF5 file: its data set `samples`, as it stands. Throws DataError
/// naming the path, for other shapes, damaged files and where there are none; ConfigError for a
/// folder beside data of other than 256 levels.
torch::Tensor read_samples(const std::string& path, c10::IntArrayRef example_shape, int64_t levels,
                           int64_t most);

}  // namespace scorenet::evaluate
