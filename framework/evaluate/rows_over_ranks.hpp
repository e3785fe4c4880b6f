// Computes n rows in fixed batches, shared among ranks and threads. The result is the same for any
// number of either.
//
// Batch b is rows [b B, (b + 1) B), always on one thread, so every kernel sees the same shapes and
// rounds the same way. Rank r takes batches r, r + R, ..., and its threads take them one by one.
// The rows are gathered by one sum with zeros, which is exact. No collective happens while rows are
// being computed, since adaptive solvers take different numbers of steps.
#pragma once

#include <torch/types.h>

#include <functional>

#include "framework/comm/communicator.hpp"

namespace scorenet::evaluate {

/// The rows [first, first + count), (count, ...) float64 on the CPU. Called from several threads at
/// once, each with gradients off.
using ComputeRows = std::function<torch::Tensor(int64_t first, int64_t count)>;

/// All n rows on every rank: (n, row_shape...) float64. Collective. batch >= 1. Uses as many
/// threads as LibTorch is set to. Rethrows the first exception of `compute`, once all threads are
/// done; throws StopRequested on all ranks once any of them was told to stop, between two batches
/// or, in `compute`, between two calls of a denoiser.
torch::Tensor rows_over_ranks(comm::Communicator& comm, int64_t n, c10::IntArrayRef row_shape,
                              int64_t batch, const ComputeRows& compute);

}  // namespace scorenet::evaluate
