// The operations of a network, for the start block, --dry-run and benchmarks.
#pragma once

#include <functional>

#include "models/score_network.hpp"

namespace scorenet::models {

int64_t parameter_count(const torch::nn::Module& module);

/// Floating-point operations (two a multiply-add) of the convolutions, matrix products and fused
/// attention that `work` runs on this thread, counted as LibTorch executes them; element-wise work
/// is left out.
double count_flops(const std::function<void()>& work);

/// Operations of one forward pass on one example of example_shape ((C, H, W) or (D)). Forward and
/// backward together cost three times this. Runs the network once on zeros.
double forward_flops(ScoreNetwork& network, c10::IntArrayRef example_shape);

/// Whether this thread is in forward_flops: a network then computes by LibTorch's operations alone.
bool counts_operations();

}  // namespace scorenet::models
