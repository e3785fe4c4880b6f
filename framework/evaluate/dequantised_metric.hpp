// Turns a metric of a density into one of probabilities, for 8-bit data.
//
// Each level is made continuous K times (likelihood/dequantise.hpp) and the density's -log p of the
// K draws is joined by
//     -log (1 / K) sum_k exp(-nats_k - log q_k),
// a bound on -log P(levels) where nats_k are exact or bounds. No other offset is added.
#pragma once

#include "framework/evaluate/metric.hpp"

namespace scorenet::evaluate {

/// The point at which a density is evaluated.
enum class DensityPoint {
  data,         // x0, to which the diffusion adds its noise
  clean_state,  // the state at t_min itself
};

/// Continuous data: `density` in the file's units (file_units.hpp). Discrete data: the above, with
/// a further term "dequantisation" so that the terms still add up; kind `exact` becomes `bound`.
/// Where K > 1 the other terms are means over the draws with their importance weights, which makes
/// any derivative among them (nll1) the derivative of the joint value. Throws ConfigError if the
/// dequantisation asked for does not go with the data, or with the point.
Metric with_dequantisation(Metric density, DensityPoint point, const std::string& name,
                           const MetricRequest& request);

}  // namespace scorenet::evaluate
