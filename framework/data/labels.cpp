#include "framework/data/labels.hpp"

#include "framework/core/check.hpp"
#include "framework/data/npy.hpp"

namespace scorenet::data {
namespace {

// Above it no label can number a class; a uint64 that no int64 holds arrives as the largest int64.
constexpr int64_t kGreatestLabel = (int64_t{1} << 31) - 1;

struct Stored {
  std::string where;
  torch::Tensor values;  // as stored, int64
};

[[noreturn]] void fail_no_integers(const std::string& where, const std::string& type) {
  throw DataError(where + ": type " + type + ", expected integers. Store the labels as integers.");
}

Stored stored_labels(const std::string& path, const std::string& array) {
  if (is_npy(path)) {
    NpyFile file(path, /*every_type=*/true);
    if (c10::isFloatingType(file.dtype())) fail_no_integers(path, file.type_name());
    return {path, file.next_rows(file.shape()[0]).to(torch::kInt64)};
  }
  const Hdf5Array opened = Hdf5File::open(path).array(array);
  if (opened.info().type_name.find("int") == std::string::npos)
    fail_no_integers(opened.where(), opened.info().type_name);
  return {opened.where(), opened.read_all(torch::kInt64)};
}

// Those of one file in the order of its samples.
torch::Tensor in_order(const Stored& stored, const AxisRoles& roles, int64_t samples) {
  const auto axes = static_cast<int64_t>(roles.sample_axes.size());
  const auto shape = stored.values.sizes().vec();
  torch::Tensor labels = stored.values;
  if (labels.dim() == axes) {
    const SampleLayout layout(shape, roles, stored.where);
    for (int64_t axis = 0; axis < axes; ++axis) {
      const Places& places = layout.window()[static_cast<size_t>(axis)];
      labels = labels.slice(axis, places.first, places.at(places.count - 1) + 1, places.step);
    }
    if (labels.numel() == samples) return labels.reshape({samples});
  }
  throw DataError(
      stored.where + ": shape " + shape_string(shape) + ", expected " +
      (axes == 1 ? "(" + std::to_string(samples) + ")"
                 : std::to_string(samples) + " values along " + std::to_string(axes) + " axes") +
      ", one label for each image.");
}

void check_values(const torch::Tensor& labels, const std::string& where) {
  if (const auto least = labels.min().item<int64_t>(); least < 0) {
    throw DataError(where + ": label " + std::to_string(least) + " at index " +
                    std::to_string(labels.argmin().item<int64_t>()) +
                    ", expected labels >= 0. Number the classes from 0.");
  }
  if (const auto greatest = labels.max().item<int64_t>(); greatest > kGreatestLabel) {
    throw DataError(where + ": label " + std::to_string(greatest) + " or above at index " +
                    std::to_string(labels.argmax().item<int64_t>()) + ", expected labels below " +
                    std::to_string(kGreatestLabel + 1) + ". Number the classes from 0.");
  }
}

// Whether the files have the labels that a map names if nothing is said.
bool has_usual_labels(const std::string& path, const std::string& array) {
  if (is_npy(path)) return false;
  const Hdf5File file = Hdf5File::open(path);
  return file.has(array) || !file.broken_link(array).empty();
}

}  // namespace

torch::Tensor read_labels(const DataMap& map, const SplitSource& source, const ArrayView& samples) {
  const std::string name = with_split(map.labels_array, source.split);
  const std::string array = name.starts_with('/') ? name : "/" + name;
  if (name.empty()) return {};
  if (map.labels_array == DataMap{}.labels_array && !has_usual_labels(source.files[0], array))
    return {};
  const AxisRoles roles = roles_beside_samples(map);
  // One file for the samples of all.
  const bool alone = is_npy(name) || samples.files().size() != source.files.size();
  std::vector<torch::Tensor> parts;
  for (size_t i = 0; i < (alone ? 1 : source.files.size()); ++i) {
    const Stored stored = stored_labels(is_npy(name) ? name : source.files[i], array);
    const int64_t count = alone ? samples.samples_of_files() : samples.samples_of_file(i);
    parts.push_back(in_order(stored, roles, count));
    check_values(parts.back(), stored.where);
  }
  const torch::Tensor labels = parts.size() == 1 ? parts[0] : torch::cat(parts);
  if (samples.size() == labels.size(0) && source.ranges.empty()) return labels.contiguous();
  std::vector<int64_t> places;
  for (int64_t i = 0; i < samples.size(); ++i) places.push_back(samples.place_of(i));
  return labels.index_select(0, torch::tensor(places));
}

}  // namespace scorenet::data
