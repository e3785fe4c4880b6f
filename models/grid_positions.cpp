#include "models/grid_positions.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/embedding.hpp"

namespace scorenet::models {
namespace {

// (n, share): sines, then cosines, of the places of one axis.
torch::Tensor positions(int64_t n, int64_t share, bool ring, torch::Device device) {
  const auto options = torch::dtype(torch::kFloat64).device(device);
  const torch::Tensor place = torch::arange(n, options);
  if (!ring)
    return sinusoidal_embedding(place, {.dim = share, .cosines_first = false}, torch::kFloat64);
  const int64_t distinct = std::max<int64_t>(1, n / 2);
  const torch::Tensor harmonic = torch::arange(share / 2, options).remainder(distinct) + 1;
  const torch::Tensor angle = (2 * M_PI / static_cast<double>(n)) * torch::outer(place, harmonic);
  return torch::cat({angle.sin(), angle.cos()}, 1);
}

}  // namespace

torch::Tensor grid_positions(c10::IntArrayRef grid, const Boundaries& boundaries, int64_t dim,
                             torch::Device device) {
  const auto axes = static_cast<int64_t>(grid.size());
  const int64_t share = dim / axes / 2 * 2;
  std::vector<int64_t> shape = grid.vec();
  shape.push_back(share);
  std::vector<torch::Tensor> parts;
  for (int64_t axis = 0; axis < axes; ++axis) {
    std::vector<int64_t> along(grid.size() + 1, 1);
    along[static_cast<size_t>(axis)] = grid[axis];
    along.back() = share;
    const bool ring = boundaries[static_cast<size_t>(axis)] == Boundary::periodic;
    parts.push_back(positions(grid[axis], share, ring, device).view(along).expand(shape));
  }
  shape.back() = dim - share * axes;
  if (shape.back() > 0)
    parts.push_back(torch::zeros(shape, torch::dtype(torch::kFloat64).device(device)));
  return torch::cat(parts, axes).view({-1, dim});
}

GridPositions::GridPositions(Boundaries boundaries, int64_t dim)
    : boundaries_(std::move(boundaries)), dim_(dim) {}

torch::Tensor GridPositions::of(c10::IntArrayRef grid, const torch::Tensor& tokens) {
  const auto made = [&] {
    return grid_positions(grid, boundaries_, dim_, tokens.device()).to(tokens.scalar_type());
  };
  // What is made while a GPU's work is recorded holds numbers only once that is replayed.
  if (!tokens.is_cpu()) return made();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!last_.defined() || grid != last_grid_ || last_.scalar_type() != tokens.scalar_type()) {
    last_ = made();
    last_grid_ = grid.vec();
  }
  return last_;
}

}  // namespace scorenet::models
