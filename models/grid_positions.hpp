// The transformer's positions: fixed sinusoids of each axis of the grid of its tokens.
#pragma once

#include <torch/types.h>

#include <mutex>
#include <vector>

#include "models/grid.hpp"

namespace scorenet::models {

/// (places of the grid, dim), float64, row-major over the grid. Each axis has its share of the
/// channels, dim / axes rounded down to an even number: sines, then cosines, of the place times the
/// frequencies 10000^(-i / (share / 2)), or on a periodic axis of N places of the harmonics
/// 2 pi m / N, m = 1, 2, ... up to N / 2 and again from 1. Channels left over are zero.
torch::Tensor grid_positions(c10::IntArrayRef grid, const Boundaries& boundaries, int64_t dim,
                             torch::Device device = torch::kCPU);

/// The positions that a network adds to its tokens. On a CPU those of the last grid are kept, which
/// saves a sine or cosine in float64 for each number. Threads may call at once.
class GridPositions {
 public:
  GridPositions(Boundaries boundaries, int64_t dim);

  /// Those of `grid`, on the tokens' device and in their type.
  torch::Tensor of(c10::IntArrayRef grid, const torch::Tensor& tokens);

 private:
  Boundaries boundaries_;
  int64_t dim_;
  std::mutex mutex_;
  std::vector<int64_t> last_grid_;
  torch::Tensor last_;
};

}  // namespace scorenet::models
