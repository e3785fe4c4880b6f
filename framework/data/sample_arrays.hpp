// The arrays of a map as one: opened with their roles, read as samples stacked along the channels.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "framework/data/array_view.hpp"

namespace scorenet::data {

/// A .npy file holds one array, without a name.
bool is_named(const SplitSource& source, const std::string& array);

/// All arrays of the map, in its order. blocks: as ArrayView. Throws DataError as ArrayView does.
std::vector<std::shared_ptr<ArrayView>> open_sample_arrays(const DataMap& map,
                                                           const SplitSource& source,
                                                           int64_t blocks);

/// (B, example_shape...), shift: as ArrayView::read. Float64 where the arrays' types differ. Throws
/// DataError as ArrayView::read.
torch::Tensor read_stacked(const std::vector<std::shared_ptr<ArrayView>>& arrays,
                           const std::vector<int64_t>& indices, int64_t shift,
                           const std::vector<int64_t>& example_shape);

}  // namespace scorenet::data
