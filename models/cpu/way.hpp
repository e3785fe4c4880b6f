// One way of a batch through a planned network, forward or backward: the memory of all its images,
// and the split of the images over threads.
#pragma once

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "models/cpu/network.hpp"

namespace scorenet::models::cpu {

/// Weights as the kernels read them. Those of the backward pass are made when they are first
/// needed.
struct PackedWeights {
  std::string digest;  // of the parameters
  torch::Tensor forward;
  torch::Tensor backward;
  std::once_flag backward_once;
};

struct Way {
  std::vector<const float*> parameters;
  const PackedWeights* packed = nullptr;
  torch::Tensor values;      // of the whole batch, or undefined: of the images at work alone
  torch::Tensor statistics;  // (B, ...), float64
  torch::Tensor shifts;      // (B, ...)
  torch::Tensor masks;       // (B, ...), bytes; or undefined: no dropout
  double dropout = 0;        // its probability
  torch::Tensor d_shifts;    // as shifts
  torch::Tensor d_y, d_x;    // as the network's output and input; d_x undefined: not wanted

  /// What the layers are given for some of the images.
  Pass pass(const Network& network, int64_t first, int64_t images) const;
};

std::vector<const float*> numbers_of(const std::vector<torch::Tensor>& tensors);

/// time: (B, channels). Zeros behind the channels, up to whole blocks.
torch::Tensor padded_time(const torch::Tensor& time);

/// (C, H, W), dense, into channels of an image, and back.
void copy_in(const float* from, int64_t channels, const View& to);
void copy_out(const View& from, int64_t channels, float* to);

/// Threads that a batch may be dealt to.
inline int64_t free_threads() { return at::in_parallel_region() ? 1 : at::get_num_threads(); }

/// Calls f(first, images) over a batch, for at most `at_once` images at a time. With an image for
/// each thread, every thread runs all layers over its own images; with fewer, all threads share
/// each layer.
template <class F>
void over_batch(int64_t images, int64_t at_once, const F& f) {
  const int64_t threads = free_threads();
  const int64_t group = std::clamp<int64_t>(images / threads, 1, at_once);
  const int64_t groups = (images + group - 1) / group;
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) f(g * group, std::min(group, images - g * group));
  };
  if (images < threads) {
    run(0, groups);
  } else {
    at::parallel_for(0, groups, 1, run);
  }
}

}  // namespace scorenet::models::cpu
