// A job of n rows, cut into fixed batches, shared by the ranks, with a result that no rank count changes.
//
// Batch b is rows [b B, (b + 1) B) whoever computes it, so every kernel sees the same shapes and rounds the same way;
// rank r takes batches r, r + R, ... Rows meet in one exact sum with zeros. No collective happens while rows are being
// computed: adaptive solvers take as many steps as they like.
#pragma once

#include <torch/types.h>

#include <functional>

#include "framework/comm/communicator.hpp"

namespace scorenet::train {

/// The rows [first, first + count), (count, ...) float64 on the CPU.
using ComputeRows = std::function<torch::Tensor(int64_t first, int64_t count)>;

/// All n rows on every rank: (n, row_shape...) float64. Collective. batch >= 1.
torch::Tensor rows_over_ranks(comm::Communicator& comm, int64_t n, c10::IntArrayRef row_shape,
                              int64_t batch, const ComputeRows& compute);

}  // namespace scorenet::train
