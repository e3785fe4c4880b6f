// The labels of a data set, all of them: whole numbers, one a sample.
#pragma once

#include <torch/types.h>

#include "framework/data/array_view.hpp"
#include "framework/data/data_map.hpp"

namespace scorenet::data {

/// (N) int64 of the samples of `samples`, all >= 0; undefined where the files have none and the map
/// names none of its own. Throws DataError: not one a sample, no whole numbers, or numbers that
/// number no class.
torch::Tensor read_labels(const DataMap& map, const SplitSource& source, const ArrayView& samples);

}  // namespace scorenet::data
