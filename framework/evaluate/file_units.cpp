#include "framework/evaluate/file_units.hpp"

namespace scorenet::evaluate {

Metric in_file_units(Metric density, const MetricRequest& request) {
  if (request.model.transforms.empty()) return density;
  density.terms.emplace_back(kJacobianTerm);
  density.compute = [of_network = density.compute](const MetricBatch& batch) {
    auto results = of_network(batch);
    for (auto& result : results) {
      result.nats = result.nats - batch.log_det;
      result.terms.emplace_back(kJacobianTerm, -batch.log_det);
    }
    return results;
  };
  return density;
}

}  // namespace scorenet::evaluate
