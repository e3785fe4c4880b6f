#include "framework/core/random.hpp"

#include <ATen/core/PhiloxRNGEngine.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "framework/core/device_words.hpp"

namespace scorenet {
namespace {

// splitmix64's finaliser (Steele, Lea, Flood 2014): neighbouring keys become unrelated Philox keys.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

uint64_t philox_key(const RandomKey& key) {
  return mix(mix(mix(key.seed) ^ static_cast<uint64_t>(key.stream)) ^ key.step);
}

constexpr uint64_t kNoSlot = std::numeric_limits<uint64_t>::max();

class SlotEngine {
 public:
  SlotEngine(const RandomKey& key, uint64_t slot) : engine_(philox_key(key), slot) {}

  uint32_t bits32() { return engine_(); }
  uint64_t bits64() {
    const uint64_t high = engine_();
    return (high << 32) | engine_();
  }
  double uniform() { return static_cast<double>(bits64() >> 11) * 0x1.0p-53; }
  float uniform_float() { return static_cast<float>(bits32() >> 8) * 0x1.0p-24f; }

 private:
  at::Philox4_32 engine_;
};

// Box-Muller on pairs. 1 - u is in (0, 1], so the logarithm is finite.
void fill_normal(SlotEngine& engine, double* out, int64_t n) {
  for (int64_t i = 0; i < n; i += 2) {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - engine.uniform()));
    const double angle = 2.0 * std::numbers::pi * engine.uniform();
    out[i] = radius * std::cos(angle);
    if (i + 1 < n) out[i + 1] = radius * std::sin(angle);
  }
}
void fill_normal(SlotEngine& engine, float* out, int64_t n) {
  for (int64_t i = 0; i < n; i += 2) {
    const float radius = std::sqrt(-2.0f * std::log(1.0f - engine.uniform_float()));
    const float angle = 2.0f * std::numbers::pi_v<float> * engine.uniform_float();
    out[i] = radius * std::cos(angle);
    if (i + 1 < n) out[i + 1] = radius * std::sin(angle);
  }
}

void fill_uniform(SlotEngine& engine, double* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = engine.uniform();
}
void fill_uniform(SlotEngine& engine, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = engine.uniform_float();
}

template <typename T>
void fill_rademacher(SlotEngine& engine, T* out, int64_t n) {
  for (int64_t i = 0; i < n; i += 32) {
    uint32_t bits = engine.bits32();
    for (int64_t j = i; j < std::min(i + 32, n); ++j, bits >>= 1)
      out[j] = (bits & 1u) ? T(1) : T(-1);
  }
}

template <typename T, typename Fill>
torch::Tensor filled_rows(const RandomKey& key, const std::vector<int64_t>& slots,
                          const std::vector<int64_t>& shape, const Fill& fill) {
  torch::Tensor rows = torch::empty(shape, c10::CppTypeToScalarType<T>::value);
  const int64_t row_size = slots.empty() ? 0 : rows.numel() / static_cast<int64_t>(slots.size());
  T* out = rows.data_ptr<T>();
  for (const int64_t slot : slots) {
    SlotEngine engine(key, static_cast<uint64_t>(slot));
    fill(engine, out, row_size);
    out += row_size;
  }
  return rows;
}

// What a GPU makes of random words (B, n), as the engine above makes it of its calls.

torch::Tensor uniform_of(const torch::Tensor& words, torch::Dtype dtype) {
  if (dtype == torch::kFloat32) return words.bitwise_right_shift(8).to(dtype) * 0x1.0p-24;
  const auto pairs = words.reshape({words.size(0), -1, 2});
  const auto bits = pairs.select(2, 0).bitwise_left_shift(21).bitwise_or(
      pairs.select(2, 1).bitwise_right_shift(11));
  return bits.to(dtype) * 0x1.0p-53;
}

torch::Tensor normal_of(const torch::Tensor& words, torch::Dtype dtype) {
  const auto u = uniform_of(words, dtype).reshape({words.size(0), -1, 2});
  const auto radius = (-2.0 * (1.0 - u.select(2, 0)).log()).sqrt();
  const auto angle = 2.0 * std::numbers::pi * u.select(2, 1);
  return torch::stack({radius * angle.cos(), radius * angle.sin()}, 2).flatten(1);
}

torch::Tensor rademacher_of(const torch::Tensor& words, torch::Dtype dtype) {
  const auto place = torch::arange(32, words.options());
  const auto bits = words.unsqueeze(2).bitwise_right_shift(place).bitwise_and(1);
  return (bits.to(dtype) * 2 - 1).flatten(1);
}

// One law: on the CPU a loop over an engine's calls, elsewhere a formula for all words at once.
struct Law {
  void (*fill_double)(SlotEngine&, double*, int64_t);
  void (*fill_float)(SlotEngine&, float*, int64_t);
  torch::Tensor (*of_words)(const torch::Tensor&, torch::Dtype);
  // Words for n values of a type: `block` values take `words` of them.
  int64_t block;
  int64_t words_double, words_float;
};
constexpr Law kNormal{fill_normal, fill_normal, normal_of, 2, 4, 2};
constexpr Law kUniform{fill_uniform, fill_uniform, uniform_of, 1, 2, 1};
constexpr Law kRademacher{fill_rademacher<double>, fill_rademacher<float>, rademacher_of, 32, 1, 1};

torch::Dtype drawn_in(torch::Dtype dtype) {
  return dtype == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

std::vector<int64_t> rows_shape(int64_t rows, c10::IntArrayRef example_shape) {
  std::vector<int64_t> shape{rows};
  shape.insert(shape.end(), example_shape.begin(), example_shape.end());
  return shape;
}

torch::Tensor rows_on_device(const Law& law, const DeviceSlots& at, c10::IntArrayRef example_shape,
                             torch::Dtype dtype) {
  const torch::Dtype drawn = drawn_in(dtype);
  const int64_t n = c10::multiply_integers(example_shape);
  const int64_t blocks = (n + law.block - 1) / law.block;
  const int64_t words = blocks * (drawn == torch::kFloat64 ? law.words_double : law.words_float);
  const auto rows = law.of_words(philox_words(at.key, at.slots, words), drawn);
  return rows.narrow(1, 0, n).reshape(rows_shape(at.slots.size(0), example_shape)).to(dtype);
}

torch::Tensor rows_for_slots(const Law& law, const RandomKey& key,
                             const std::vector<int64_t>& slots, c10::IntArrayRef example_shape,
                             torch::Dtype dtype, torch::Device device) {
  if (draws_words_on(device) && !slots.empty()) {
    const auto there = [device](const std::vector<int64_t>& values) {
      return torch::tensor(values, torch::kInt64).to(device);
    };
    return rows_on_device(law, {there({key_word(key)}), there(slots)}, example_shape, dtype);
  }
  const auto shape = rows_shape(static_cast<int64_t>(slots.size()), example_shape);
  const auto rows = drawn_in(dtype) == torch::kFloat64
                        ? filled_rows<double>(key, slots, shape, law.fill_double)
                        : filled_rows<float>(key, slots, shape, law.fill_float);
  return rows.to(device, dtype);
}

}  // namespace

torch::Tensor normal_for_slots(const RandomKey& key, const std::vector<int64_t>& slots,
                               c10::IntArrayRef example_shape, torch::Dtype dtype,
                               torch::Device device) {
  return rows_for_slots(kNormal, key, slots, example_shape, dtype, device);
}

torch::Tensor uniform_for_slots(const RandomKey& key, const std::vector<int64_t>& slots,
                                c10::IntArrayRef example_shape, torch::Dtype dtype,
                                torch::Device device) {
  return rows_for_slots(kUniform, key, slots, example_shape, dtype, device);
}

torch::Tensor rademacher_for_slots(const RandomKey& key, const std::vector<int64_t>& slots,
                                   c10::IntArrayRef example_shape, torch::Dtype dtype,
                                   torch::Device device) {
  return rows_for_slots(kRademacher, key, slots, example_shape, dtype, device);
}

int64_t key_word(const RandomKey& key) { return static_cast<int64_t>(philox_key(key)); }

torch::Tensor normal_for_slots(const DeviceSlots& at, c10::IntArrayRef example_shape,
                               torch::Dtype dtype) {
  return rows_on_device(kNormal, at, example_shape, dtype);
}

torch::Tensor uniform_for_slots(const DeviceSlots& at, c10::IntArrayRef example_shape,
                                torch::Dtype dtype) {
  return rows_on_device(kUniform, at, example_shape, dtype);
}

torch::Tensor rademacher_for_slots(const DeviceSlots& at, c10::IntArrayRef example_shape,
                                   torch::Dtype dtype) {
  return rows_on_device(kRademacher, at, example_shape, dtype);
}

double uniform_for_step(const RandomKey& key) { return SlotEngine(key, kNoSlot).uniform(); }

std::vector<int64_t> permutation(const RandomKey& key, int64_t n) {
  std::vector<int64_t> order = slot_range(0, n);
  SlotEngine engine(key, kNoSlot);
  for (int64_t i = n - 1; i > 0; --i) {
    // The bias of the modulo is below n / 2^64: unobservable.
    const auto j = static_cast<int64_t>(engine.bits64() % static_cast<uint64_t>(i + 1));
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(j)]);
  }
  return order;
}

std::vector<int64_t> slot_range(int64_t first, int64_t count) {
  std::vector<int64_t> slots(static_cast<size_t>(count));
  std::iota(slots.begin(), slots.end(), first);
  return slots;
}

}  // namespace scorenet
