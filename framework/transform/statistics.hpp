// Mean and deviation of a training split, with the same bits for any number of ranks.
//
// The split is cut into at most 256 blocks of consecutive rows, by its size alone. A block's count,
// mean and sum of squared deviations are added up in float64 in the order of its rows; blocks are
// merged in their order (Chan, Golub, LeVeque 1979). Ranks take blocks in turn: in each round they
// read in parallel, then broadcast their results block by block.
#pragma once

#include <torch/types.h>

#include <functional>
#include <string>

#include "framework/transform/transform_chain.hpp"

namespace scorenet::transform {

/// Moments of each of K parts of an example, (K) float64.
struct Moments {
  torch::Tensor count, mean, squares;  // squares: sum of the squared deviations from the mean
};

/// x: (B, ...) float64 on the CPU, contiguous; observed: as in NetworkValues; parts: K, a divisor
/// of an example's dimensions.
Moments moments_of(const torch::Tensor& x, const torch::Tensor& observed, int64_t parts);
/// The moments of both blocks; `next` follows `before`.
Moments merged(const Moments& before, const Moments& next);

struct Split {
  int64_t size = 0;
  std::vector<int64_t> example_shape;
  std::string where;  // for messages: "a.h5, dataset "/train/images""
  std::function<torch::Tensor(int64_t first, int64_t count)> read;  // rows as they are stored
  /// What divide(NAME) divides these rows by; empty: nothing is divided.
  std::function<Conditions(int64_t first, int64_t count)> conditions = {};
};

struct Ranks {
  int rank = 0, size = 1;
  /// Sends rank `root`'s numbers to all ranks. May be empty for one rank.
  std::function<void(torch::Tensor& values, int root)> broadcast;
};

/// Measures the statistics that the chain still needs, in one pass over the split for each stage.
/// Collective over `ranks`. Throws DataError naming a part that is constant or never observed, and
/// as TransformChain::forward.
void measure_statistics(TransformChain& chain, const Split& split, const Ranks& ranks);

}  // namespace scorenet::transform
