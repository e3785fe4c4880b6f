// The noise knob as a function of time: h(t) = hbar shape(t).
//
// The reverse family of Hirono, Tanaka, Fukushima (2024, 2403.11262, eq. 9), the weights of its
// paths and its expansion in hbar hold for any h(t) >= 0. One shape with one number in front keeps
// lists of hbar, and the search for the best of them, as they are for constants.
#pragma once

#include <torch/types.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace scorenet::diffusion {

/// shape(t), >= 0. Empty: 1 at all times.
using HbarShape = std::function<double(double t)>;

/// hbar shape(t). Throws ConfigError naming t and the value where that is negative or not finite.
double hbar_at(const HbarShape& shape, double hbar, double t);
/// The same for each of several times: float64 of t's shape, on its device.
torch::Tensor hbar_at(const HbarShape& shape, double hbar, const torch::Tensor& t);

/// Linear between points (t, value), constant before the first and after the last. Two points at
/// one t are a jump; t itself then has the second one's value. Throws ConfigError unless there is a
/// point, t does not fall from point to point, and values are >= 0 and finite.
HbarShape piecewise_hbar(std::vector<std::pair<double, double>> points);

/// piecewise_hbar of "t:value,t:value,...", such as "0:0,0.5:1"; spaces do not count. Throws
/// ConfigError that quotes the part it cannot read.
HbarShape parse_hbar_shape(const std::string& text);

}  // namespace scorenet::diffusion
