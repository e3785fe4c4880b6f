#include "framework/data/sample_arrays.hpp"

#include <algorithm>

namespace scorenet::data {
namespace {

// How many axes the array has in the first file; none without a name.
int64_t axes_of(const SplitSource& source, const std::string& array) {
  if (!is_named(source, array)) return 0;
  const std::string name = with_split(array, source.split);
  return static_cast<int64_t>(
      Hdf5File::open(source.files[0]).array("/" + name).info().shape.size());
}

std::vector<AxisRoles> roles_of(const DataMap& map, const SplitSource& source) {
  std::vector<int64_t> axes;
  // Of one array the number does not matter, and a file is opened for it.
  for (const std::string& array : map.arrays)
    axes.push_back(map.arrays.size() == 1 ? 0 : axes_of(source, array));
  return roles_of_arrays(map, axes);
}

}  // namespace

bool is_named(const SplitSource& source, const std::string& array) {
  return !is_npy(array) && !is_npy(source.files[0]);
}

std::vector<std::shared_ptr<ArrayView>> open_sample_arrays(const DataMap& map,
                                                           const SplitSource& source,
                                                           int64_t blocks) {
  const auto roles = roles_of(map, source);
  std::vector<std::shared_ptr<ArrayView>> arrays;
  for (size_t i = 0; i < map.arrays.size(); ++i)
    arrays.push_back(std::make_shared<ArrayView>(source, map.arrays[i], roles[i], blocks));
  return arrays;
}

torch::Tensor read_stacked(const std::vector<std::shared_ptr<ArrayView>>& arrays,
                           const std::vector<int64_t>& indices, int64_t shift,
                           const std::vector<int64_t>& example_shape) {
  const bool one_type = std::all_of(arrays.begin(), arrays.end(), [&](const auto& array) {
    return array->dtype() == arrays[0]->dtype();
  });
  const torch::Dtype dtype = one_type ? arrays[0]->dtype() : torch::kFloat64;
  std::vector<torch::Tensor> parts;
  for (const auto& array : arrays) parts.push_back(array->read(indices, shift).to(dtype));
  std::vector<int64_t> shape{static_cast<int64_t>(indices.size())};
  shape.insert(shape.end(), example_shape.begin(), example_shape.end());
  return (parts.size() == 1 ? parts[0] : torch::cat(parts, 1)).view(shape);
}

}  // namespace scorenet::data
