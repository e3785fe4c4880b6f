// Randomness as a function: a sample gets the same draw on any rank, in any batch and in any
// order.
//
// A draw is addressed by (seed, stream, step, slot). `slot` is the sample's global position: its
// place in the global batch while training, its index in the data set while evaluating, its seed
// while sampling. Nothing has state, so 1, 2 or 1,000 ranks draw identical values, a resumed run
// goes on with the values it would have drawn, and no generator has to be saved. Counter-based
// generator: Philox 4x32-10 (Salmon et al. 2011), LibTorch's own engine.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace scorenet {

/// What a draw is for. Different streams of one (seed, step, slot) are independent. A run's results
/// depend on these values: append new ones, never renumber.
enum class RandomStream : uint64_t {
  training_noise = 1,
  training_time = 2,
  dropout = 3,
  augmentation = 4,
  label_drop = 5,
  dequantisation = 6,
  evaluation_noise = 7,
  evaluation_time = 8,
  trace_probe = 9,
  sampler_start = 10,
  sampler_noise = 11,
  initial_weights = 12,
  shuffle = 13,
  importance_path = 14,
  synthetic_data = 15,
};

/// The address of a set of draws, without the slot.
struct RandomKey {
  uint64_t seed = 0;
  RandomStream stream = RandomStream::training_noise;
  uint64_t step = 0;
};

/// Row i holds draws that depend on (key, slots[i]) alone. example_shape: the shape of one example,
/// () for a scalar. Returns (slots.size(), example_shape...) of `dtype` on `device`. Values are
/// drawn in float64 for a float64 result and in float32 otherwise, so a float32 run and its
/// bfloat16 twin see the same noise up to rounding. A GPU draws for itself (device_words.hpp), from
/// the same random words: its values are the CPU's up to the rounding of log and cos.
torch::Tensor normal_for_slots(const RandomKey& key, const std::vector<int64_t>& slots,
                               c10::IntArrayRef example_shape, torch::Dtype dtype,
                               torch::Device device = torch::kCPU);

/// Uniform on [0, 1); otherwise as normal_for_slots.
torch::Tensor uniform_for_slots(const RandomKey& key, const std::vector<int64_t>& slots,
                                c10::IntArrayRef example_shape, torch::Dtype dtype,
                                torch::Device device = torch::kCPU);

/// -1 or +1 with equal probability (Hutchinson probes); otherwise as normal_for_slots.
torch::Tensor rademacher_for_slots(const RandomKey& key, const std::vector<int64_t>& slots,
                                   c10::IntArrayRef example_shape, torch::Dtype dtype,
                                   torch::Device device = torch::kCPU);

/// The same address as tensors on the device, which reads it there: a recorded step
/// (device_graph.hpp) is launched many times, each time with other numbers in these tensors.
struct DeviceSlots {
  torch::Tensor key;    // (1) int64: key_word() of the RandomKey
  torch::Tensor slots;  // (B) int64
};

/// The generator's key for `key`, as a number for an int64 tensor.
int64_t key_word(const RandomKey& key);

/// As the functions of the same names above, on the slots' device. REQUIRES
/// draws_words_on(that device) (device_words.hpp).
torch::Tensor normal_for_slots(const DeviceSlots& at, c10::IntArrayRef example_shape,
                               torch::Dtype dtype);
torch::Tensor uniform_for_slots(const DeviceSlots& at, c10::IntArrayRef example_shape,
                                torch::Dtype dtype);
torch::Tensor rademacher_for_slots(const DeviceSlots& at, c10::IntArrayRef example_shape,
                                   torch::Dtype dtype);

/// One uniform on [0, 1) that belongs to no slot (the common offset of stratified times).
double uniform_for_step(const RandomKey& key);

/// A permutation of 0..n-1 that depends on the key alone (Fisher-Yates).
std::vector<int64_t> permutation(const RandomKey& key, int64_t n);

/// first, first + 1, ..., first + count - 1.
std::vector<int64_t> slot_range(int64_t first, int64_t count);

}  // namespace scorenet
