#include "framework/data/transform.hpp"

#include <algorithm>

#include "framework/core/random.hpp"

namespace scorenet::data {
namespace {

// Mirrors the rows (runs of `width`) of each example whose draw is below 1/2.
template <typename T>
void mirror_chosen(torch::Tensor& examples, const float* draw) {
  const int64_t count = examples.numel() / examples.size(0);
  const int64_t width = examples.size(-1);
  T* example = examples.data_ptr<T>();
  for (int64_t i = 0; i < examples.size(0); ++i, example += count) {
    if (draw[i] >= 0.5f) continue;
    for (T* row = example; row < example + count; row += width) std::reverse(row, row + width);
  }
}

}  // namespace

// Plain loops: this runs on the loader's thread, which must not wake a second team of
// OpenMP threads.
void flip_for_slots(torch::Tensor& examples, const std::vector<int64_t>& slots, uint64_t seed,
                    int64_t step) {
  if (examples.numel() == 0) return;
  const RandomKey key{seed, RandomStream::augmentation, static_cast<uint64_t>(step)};
  const auto draws = uniform_for_slots(key, slots, {}, torch::kFloat32);
  const float* draw = draws.const_data_ptr<float>();
  if (examples.scalar_type() == torch::kUInt8) return mirror_chosen<uint8_t>(examples, draw);
  if (examples.scalar_type() == torch::kFloat64) return mirror_chosen<double>(examples, draw);
  mirror_chosen<float>(examples, draw);
}

}  // namespace scorenet::data
