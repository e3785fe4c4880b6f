#include "framework/data/sample_layout.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "framework/core/check.hpp"

namespace scorenet::data {
namespace {

// A place counted from the end, as one from the start; none outside.
std::optional<size_t> axis_of(int64_t axis, size_t count) {
  const auto axes = static_cast<int64_t>(count);
  if (axis < -axes || axis >= axes) return std::nullopt;
  return static_cast<size_t>(axis < 0 ? axes + axis : axis);
}

std::string described(const std::string& where, const std::vector<int64_t>& shape) {
  return where + ", shape " + shape_string(shape);
}

}  // namespace

AxisRoles roles_of_samples(const DataMap& map) {
  return {map.sample_axes, map.channel_axis, map.window};
}

std::vector<AxisRoles> roles_of_arrays(const DataMap& map, const std::vector<int64_t>& axes) {
  std::vector<AxisRoles> roles(axes.size(), roles_of_samples(map));
  if (axes.size() == 1 || !map.channel_axis) return roles;
  const int64_t most = *std::max_element(axes.begin(), axes.end());
  const int64_t channel = *map.channel_axis < 0 ? most + *map.channel_axis : *map.channel_axis;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] != most - 1) continue;
    auto& window = roles[i].window;
    roles[i].channel_axis.reset();
    if (channel < static_cast<int64_t>(window.size())) window.erase(window.begin() + channel);
  }
  return roles;
}

AxisRoles roles_beside_samples(const DataMap& map) {
  AxisRoles roles;
  roles.as_stored = true;
  roles.channel_axis.reset();
  roles.sample_axes.clear();
  for (size_t i = 0; i < map.sample_axes.size(); ++i) {
    const auto axis = static_cast<size_t>(map.sample_axes[i]);
    roles.sample_axes.push_back(static_cast<int64_t>(i));
    roles.window.push_back(axis < map.window.size() ? map.window[axis] : ":");
  }
  return roles;
}

SampleLayout::SampleLayout(std::vector<int64_t> shape, const AxisRoles& roles,
                           const std::string& where)
    : shape_(std::move(shape)) {
  find_axes(roles, where);
  find_window(roles, where);
  if (!roles.channel_axis && !roles.as_stored) sample_shape_.push_back(1);
  for (const size_t axis : own_axes_) sample_shape_.push_back(window_[axis].count);
}

void SampleLayout::find_axes(const AxisRoles& roles, const std::string& where) {
  std::vector<bool> is_own(shape_.size(), true);
  for (const int64_t asked : roles.sample_axes) {
    const auto axis = axis_of(asked, shape_.size());
    if (!axis) {
      throw DataError(described(where, shape_) + " has no axis " + std::to_string(asked) +
                      ", which data.sample_axes names; it has " + std::to_string(shape_.size()) +
                      " axes, counted from 0. Name those that number the samples.");
    }
    is_own[*axis] = false;
    sample_axes_.push_back(*axis);
  }
  if (roles.channel_axis) {
    const auto axis = axis_of(*roles.channel_axis, shape_.size());
    if (!axis || !is_own[*axis]) {
      throw DataError(
          described(where, shape_) +
          (axis ? ": data.channel_axis = " + std::to_string(*roles.channel_axis) +
                      " is an axis of samples"
                : " has no axis " + std::to_string(*roles.channel_axis) +
                      ", which data.channel_axis names") +
          ", expected (N, ...) with at least one axis besides the samples. Without an axis of "
          "channels, set data.channel_axis = \"none\".");
    }
    own_axes_.push_back(*axis);
    is_own[*axis] = false;
  }
  for (size_t axis = 0; axis < shape_.size(); ++axis)
    if (is_own[axis]) own_axes_.push_back(axis);
}

void SampleLayout::find_window(const AxisRoles& roles, const std::string& where) {
  if (roles.window.size() > shape_.size()) {
    throw DataError(described(where, shape_) + " has " + std::to_string(shape_.size()) +
                    " axes, but data.window has " + std::to_string(roles.window.size()) +
                    " ranges. Give at most one an axis.");
  }
  for (size_t axis = 0; axis < shape_.size(); ++axis) {
    window_.push_back({0, shape_[axis], 1});
    if (axis >= roles.window.size()) continue;
    const auto range = parse_range(roles.window[axis]);
    const auto places = range ? places_on(*range, shape_[axis]) : std::nullopt;
    if (!places) {
      throw DataError(described(where, shape_) + ": data.window asks for \"" + roles.window[axis] +
                      "\" of axis " + std::to_string(axis) + ", which has places 0 to " +
                      std::to_string(shape_[axis] - 1) + ".");
    }
    window_.back() = *places;
  }
}

int64_t SampleLayout::samples() const {
  int64_t count = 1;
  for (const size_t axis : sample_axes_) count *= window_[axis].count;
  return count;
}

int64_t SampleLayout::sample_elements() const {
  return std::accumulate(sample_shape_.begin(), sample_shape_.end(), int64_t{1},
                         std::multiplies<>());
}

std::vector<int64_t> SampleLayout::position(int64_t sample) const {
  std::vector<int64_t> position(sample_axes_.size());
  for (size_t i = sample_axes_.size(); i-- > 0;) {
    const int64_t count = window_[sample_axes_[i]].count;
    position[i] = sample % count;
    sample /= count;
  }
  return position;
}

}  // namespace scorenet::data
