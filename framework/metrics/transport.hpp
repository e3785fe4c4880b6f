// Minimum-cost transport between two sets of equal weights. Plain C++: LEMON and LibTorch are
// not compiled together.
#pragma once

#include <cstdint>
#include <vector>

namespace scorenet::metrics {

/// cost: row-major (sources, targets), finite. Sources weigh 1 / sources each, targets 1 / targets.
/// Returns the least total cost. Throws Error if the solver reports no optimum (it always has one).
double transport_cost(const std::vector<double>& cost, int64_t sources, int64_t targets);

}  // namespace scorenet::metrics
