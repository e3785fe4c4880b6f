#include "framework/core/check.hpp"

#include <sstream>
#include <vector>

namespace scorenet {

std::string shape_string(c10::IntArrayRef shape) {
  std::ostringstream out;
  out << '(';
  for (size_t i = 0; i < shape.size(); ++i) out << (i ? ", " : "") << shape[i];
  out << ')';
  return out.str();
}

void check_same_shape(const torch::Tensor& a, const torch::Tensor& b, const std::string& what) {
  if (a.sizes() == b.sizes()) return;
  throw ShapeError(what + ": shapes " + shape_string(a.sizes()) + " and " +
                   shape_string(b.sizes()) + " must be equal.");
}

torch::Tensor broadcast_to_batch(const torch::Tensor& per_example, const torch::Tensor& batch) {
  if (per_example.dim() == 0) return per_example;
  if (per_example.dim() != 1 || batch.dim() < 1 || per_example.size(0) != batch.size(0)) {
    throw ShapeError("per-example values of shape " + shape_string(per_example.sizes()) +
                     " do not fit a batch of shape " + shape_string(batch.sizes()) +
                     ": expected (" + std::to_string(batch.dim() ? batch.size(0) : 0) + ").");
  }
  std::vector<int64_t> shape(static_cast<size_t>(batch.dim()), 1);
  shape[0] = per_example.size(0);
  return per_example.view(shape);
}

torch::Tensor sum_per_example(const torch::Tensor& batch) {
  return batch.dim() == 1 ? batch : batch.flatten(1).sum(1);
}

int64_t dims_per_example(const torch::Tensor& batch) {
  return batch.dim() <= 1 ? 1 : batch.numel() / std::max<int64_t>(batch.size(0), 1);
}

}  // namespace scorenet
