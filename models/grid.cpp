#include "models/grid.hpp"

#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "framework/core/check.hpp"
#include "models/options.hpp"

namespace scorenet::models {
namespace {

constexpr std::pair<const char*, Boundary> kBoundaries[] = {{"zeros", Boundary::zeros},
                                                            {"periodic", Boundary::periodic}};

Boundary boundary_of(const std::string& name) {
  std::string known;
  for (const auto& [entry, boundary] : kBoundaries) {
    if (name == entry) return boundary;
    known += (known.empty() ? "" : " or ") + std::string(entry);
  }
  throw ConfigError("model.padding = \"" + name + "\": expected " + known + ".");
}

// A convolution in any number of axes, by LibTorch's function for it: autocast knows these.
torch::Tensor convolve(const torch::Tensor& x, const torch::Tensor& weight,
                       const torch::Tensor& bias, int64_t stride, c10::IntArrayRef padding) {
  const std::vector<int64_t> strides(padding.size(), stride);
  switch (padding.size()) {
    case 1:
      return at::conv1d(x, weight, bias, strides, padding);
    case 2:
      return at::conv2d(x, weight, bias, strides, padding);
    default:
      return at::conv3d(x, weight, bias, strides, padding);
  }
}

// counts: in LibTorch's order, two an axis. Copies only where there are any.
torch::Tensor with_zeros(const torch::Tensor& x, c10::IntArrayRef counts) {
  const bool any = std::any_of(counts.begin(), counts.end(), [](int64_t n) { return n > 0; });
  return any ? torch::constant_pad_nd(x, counts) : x;
}

torch::Tensor wrapped(const torch::Tensor& x, int64_t dim, int64_t before, int64_t after) {
  if (before == 0 && after == 0) return x;
  return torch::cat({x.narrow(dim, x.size(dim) - before, before), x, x.narrow(dim, 0, after)}, dim);
}

}  // namespace

std::vector<std::string> boundary_names() {
  std::vector<std::string> names;
  for (const auto& [name, boundary] : kBoundaries) names.emplace_back(name);
  return names;
}

Boundaries boundaries_of(const std::vector<std::string>& padding, int64_t axes) {
  const auto count = static_cast<size_t>(axes);
  if (padding.size() == 1) return Boundaries(count, boundary_of(padding.front()));
  if (padding.size() != count) {
    throw ConfigError("model.padding: " + std::to_string(padding.size()) +
                      " entries for examples with " + std::to_string(axes) +
                      " axes after the channel axis. Give one name for all axes, or one per axis.");
  }
  Boundaries boundaries;
  for (const std::string& name : padding) boundaries.push_back(boundary_of(name));
  return boundaries;
}

bool is_plain_image(const Boundaries& boundaries) { return boundaries == Boundaries(2); }

void check_rings(const Boundaries& boundaries, c10::IntArrayRef sizes, int64_t multiple,
                 const std::string& why) {
  for (size_t axis = 0; axis < boundaries.size(); ++axis) {
    if (boundaries[axis] == Boundary::zeros || sizes[axis] % multiple == 0) continue;
    throw ConfigError("model.padding: axis " + std::to_string(axis) + " of " +
                      std::to_string(sizes[axis]) + " places is periodic, so its size must be a " +
                      "multiple of " + std::to_string(multiple) + " (" + why +
                      "). Choose fewer levels or another size, or zeros for this axis.");
  }
}

torch::Tensor extended(const torch::Tensor& x, const Boundaries& boundaries, int64_t before,
                       int64_t after) {
  std::vector<int64_t> zeros;  // LibTorch's order: the last axis first
  torch::Tensor out = x;
  for (size_t axis = boundaries.size(); axis-- > 0;) {
    const bool ring = boundaries[axis] == Boundary::periodic;
    if (ring) out = wrapped(out, static_cast<int64_t>(axis) + 2, before, after);
    zeros.insert(zeros.end(), {ring ? 0 : before, ring ? 0 : after});
  }
  return with_zeros(out, zeros);
}

torch::Tensor padded_to_multiple(const torch::Tensor& x, int64_t multiple) {
  std::vector<int64_t> zeros;
  for (int64_t dim = x.dim(); dim-- > 2;)
    zeros.insert(zeros.end(), {0, (multiple - x.size(dim) % multiple) % multiple});
  return with_zeros(x, zeros);
}

torch::Tensor cropped(const torch::Tensor& x, c10::IntArrayRef sizes) {
  torch::Tensor out = x;
  for (size_t axis = 0; axis < sizes.size(); ++axis)
    out = out.narrow(static_cast<int64_t>(axis) + 2, 0, sizes[axis]);
  return out;
}

void check_input(const char* network, const torch::Tensor& x, int64_t channels, size_t axes) {
  if (x.dim() == static_cast<int64_t>(axes) + 2 && x.size(1) == channels) return;
  const char* const names[] = {", L", ", H, W", ", D, H, W"};
  throw ShapeError(std::string(network) + ": input of shape " + shape_string(x.sizes()) +
                   ", expected (B, " + std::to_string(channels) + names[axes - 1] + ").");
}

torch::Tensor as_shift(const torch::Tensor& per_channel, int64_t dim) {
  torch::Tensor shift = per_channel;
  while (shift.dim() < dim) shift = shift.unsqueeze(-1);
  return shift;
}

torch::Tensor halved(const torch::Tensor& x) {
  if (x.dim() == 3) return at::avg_pool1d(x, 2);
  return x.dim() == 4 ? at::avg_pool2d(x, 2) : at::avg_pool3d(x, 2);
}

torch::Tensor doubled(const torch::Tensor& x) {
  std::vector<int64_t> sizes;
  for (int64_t dim = 2; dim < x.dim(); ++dim) sizes.push_back(2 * x.size(dim));
  switch (sizes.size()) {
    case 1:
      return at::upsample_nearest1d(x, sizes);
    case 2:
      return at::upsample_nearest2d(x, sizes);
    default:
      return at::upsample_nearest3d(x, sizes);
  }
}

ConvolutionImpl::ConvolutionImpl(const ConvolutionOptions& options) : options_(options) {
  std::vector<int64_t> shape{options.out, options.in};
  shape.resize(2 + options.boundaries.size(), options.size);
  // Filled by initialise_weights or from a file.
  weight = register_parameter("weight", torch::zeros(shape));
  bias = register_parameter("bias", torch::zeros({options.out}));
}

torch::Tensor ConvolutionImpl::forward(const torch::Tensor& x) {
  const int64_t reach = options_.padding;
  std::vector<int64_t> padding;
  torch::Tensor in = x;
  for (size_t axis = 0; axis < options_.boundaries.size(); ++axis) {
    const bool ring = options_.boundaries[axis] == Boundary::periodic;
    if (ring) in = wrapped(in, static_cast<int64_t>(axis) + 2, reach, reach);
    padding.push_back(ring ? 0 : reach);
  }
  return convolve(in, weight, bias, options_.stride, padding);
}

}  // namespace scorenet::models
