#include "framework/core/finite.hpp"

#include "framework/core/error.hpp"

namespace scorenet {

void check_finite(const torch::Tensor& values, const std::string& where) {
  if (!values.is_floating_point()) return;
  const auto bad = torch::isfinite(values).logical_not();
  const int64_t count = bad.sum().item<int64_t>();
  if (count == 0) return;
  const double first = values.masked_select(bad)[0].item<double>();
  throw NotFiniteError(where + ": " + std::to_string(count) + " of " +
                       std::to_string(values.numel()) + " values are not finite, the first is " +
                       std::to_string(first) +
                       ". Use a snapshot from before the training diverged, or an undamaged file.");
}

}  // namespace scorenet
