// Which values of a stored array are one sample: index arithmetic alone.
//
// Some axes of the array number the samples, slowest first; the others are the sample's own, the
// channel first and the rest in stored order. Of every axis some places count (a window).
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
  std::optional<int64_t> channel_axis = 1;  // none: a channel axis of 1 is added
  std::vector<std::string> window;          // of the leading axes; the others whole
  bool as_stored = false;  // no channel: the sample's axes as they are, none is moved or added
};

/// Those of the map's own arrays.
AxisRoles roles_of_samples(const DataMap& map);
/// Of each of them, which have so many axes: one with an axis less than the others lacks that of
/// the channels.
std::vector<AxisRoles> roles_of_arrays(const DataMap& map, const std::vector<int64_t>& axes);

/// Those of an array that holds something else for the same samples (labels, parameters): its
/// leading axes are the sample axes in their order, windows included, and what follows is one
/// sample's as it is stored.
AxisRoles roles_beside_samples(const DataMap& map);

class SampleLayout {
 public:
  /// Throws DataError beginning with `where` (file, array and type) if the roles do not fit an
  /// array of this shape.
  SampleLayout(std::vector<int64_t> shape, const AxisRoles& roles, const std::string& where);

  /// Of the stored array.
  const std::vector<int64_t>& shape() const { return shape_; }
  /// The places of each stored axis that count.
  const std::vector<Places>& window() const { return window_; }
  const std::vector<size_t>& sample_axes() const { return sample_axes_; }
  /// The stored axes of a sample in the order in which it is delivered.
  const std::vector<size_t>& own_axes() const { return own_axes_; }
  /// As delivered: own_axes, and an added channel before them.
  const std::vector<int64_t>& sample_shape() const { return sample_shape_; }

  int64_t samples() const;
  int64_t sample_elements() const;
  /// Where sample i lies on each sample axis, counted in the window's places.
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
