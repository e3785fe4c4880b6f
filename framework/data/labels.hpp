// Reads all labels of a data set: whole numbers, one per sample.
#pragma once

#include <torch/types.h>

#include "framework/data/array_view.hpp"
#include "framework/data/data_map.hpp"

namespace scorenet::data {

/// (N) int64, all >= 0, for the samples of `samples`; undefined if the files have no labels and the
/// map names no other array. Throws DataError if there is not one per sample, or if the type or the
/// numbers cannot be classes.
torch::Tensor read_labels(const DataMap& map, const SplitSource& source, const ArrayView& samples);

}  // namespace scorenet::data
