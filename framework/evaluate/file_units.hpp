// Likelihoods of transformed data in the units of the file: -log p(x) = -log p(y) - log |dy/dx|.
#pragma once

#include "framework/evaluate/metric.hpp"

namespace scorenet::evaluate {

/// The term that a metric in the file's units has besides those of the network's: -log |dy/dx|.
inline constexpr const char* kJacobianTerm = "jacobian";

/// `density`, of what the network sees, as one of the file's values, with a further term "jacobian"
/// so that the terms still add up; as it is where there are no transforms.
Metric in_file_units(Metric density, const MetricRequest& request);

}  // namespace scorenet::evaluate
