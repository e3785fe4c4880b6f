// The likelihood metrics by name. The next evaluator is one file in diffusion/likelihood and one
// entry in the table here.
#pragma once

#include <string>

#include "framework/evaluate/metric.hpp"

namespace scorenet::evaluate {

/// "elbo", "elbo-1000", "ode", ... Throws ConfigError for an unknown name (listing the known), for
/// --exact where the metric has no exact form, and for a dequantisation that does not go with
/// metric or data.
Metric find_metric(const std::string& name, const MetricRequest& request);

/// The names, separated by commas, for help and messages.
std::string metric_names();

}  // namespace scorenet::evaluate
