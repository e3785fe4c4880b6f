// Says which values of a stored array form one sample, by index arithmetic alone.
//
// Some axes of the array number the samples, slowest first. The others are the sample's own: the
// channel first, the rest in stored order. A window may take only some places of an axis.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/data/data_map.hpp"
#include "framework/data/index_range.hpp"

namespace scorenet::data {

/// What the axes of an array mean.
struct AxisRoles {
  std::vector<int64_t> sample_axes = {0};   // slowest first
  std::optional<int64_t> channel_axis = 1;  // none: a channel axis of size 1 is added
  std::vector<std::string> window;          // for the leading axes; the others are taken whole
  bool as_stored = false;  // without channels: the sample's axes as stored, none moved or added
};

/// The roles of the axes of the map's own arrays.
AxisRoles roles_of_samples(const DataMap& map);
/// The same for each of several arrays; axes: how many axes each has. An array with one axis fewer
/// than the others has no channel axis.
std::vector<AxisRoles> roles_of_arrays(const DataMap& map, const std::vector<int64_t>& axes);

/// The roles for an array that holds something else for the same samples (labels, parameters): its
/// leading axes are the sample axes in their order, windows included, and the other axes hold one
/// sample's values as stored.
AxisRoles roles_beside_samples(const DataMap& map);

class SampleLayout {
 public:
  /// Throws DataError beginning with `where` (file, array and type) if the roles do not fit an
  /// array of this shape.
  SampleLayout(std::vector<int64_t> shape, const AxisRoles& roles, const std::string& where);

  /// Shape of the stored array.
  const std::vector<int64_t>& shape() const { return shape_; }
  /// The places of each stored axis that are taken.
  const std::vector<Places>& window() const { return window_; }
  const std::vector<size_t>& sample_axes() const { return sample_axes_; }
  /// The stored axes of a sample in the order in which it is delivered.
  const std::vector<size_t>& own_axes() const { return own_axes_; }
  /// Shape as delivered: the sizes of own_axes, after an added channel axis if there is one.
  const std::vector<int64_t>& sample_shape() const { return sample_shape_; }

  int64_t samples() const;
  int64_t sample_elements() const;
  /// The index of a sample on each sample axis, counted within the window.
  std::vector<int64_t> position(int64_t sample) const;

 private:
  void find_axes(const AxisRoles& roles, const std::string& where);
  void find_window(const AxisRoles& roles, const std::string& where);

  std::vector<int64_t> shape_;
  std::vector<Places> window_;
  std::vector<size_t> sample_axes_, own_axes_;
  std::vector<int64_t> sample_shape_;
};

}  // namespace scorenet::data
