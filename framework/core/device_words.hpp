// The random words of Philox 4x32-10 (random.hpp), drawn on the tensors' own device. A training
// step of a network with dropout takes hundreds of millions of them; drawn on the host they would
// take longer than the rest of the step.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace scorenet {

/// Whether this build has a generator for that device. The CPU has its own loops (random.cpp).
bool draws_words_on(torch::Device device);

/// Word j of row i is what the (j+1)-th call of at::Philox4_32(key, slots[i]) returns.
/// key: (1) int64, slots: (B) int64, on one device. Returns (B, count) int64 in [0, 2^32) there.
/// REQUIRES draws_words_on(that device).
torch::Tensor philox_words(const torch::Tensor& key, const torch::Tensor& slots, int64_t count);

}  // namespace scorenet
