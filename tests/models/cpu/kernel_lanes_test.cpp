#include "models/cpu/kernel_lanes.hpp"

#include "tests/models/cpu/each_target.hpp"

namespace scorenet::models::cpu {
namespace {

class KernelLanes : public EachTarget {};
INSTANTIATE_TEST_SUITE_P(All, KernelLanes, each_target(), name_of_target);

// Numbers that tell where they came from.
std::vector<float> numbered(int64_t count) {
  std::vector<float> numbers(static_cast<size_t>(count));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i + 1);
  return numbers;
}

TEST_P(KernelLanes, TransposeStridedRowsToVectorsAndBack) {
  for (const int64_t lanes : {1, 3, 4, 7, 12, 16}) {
    for (const int64_t count : {1, 4, 6, 9}) {
      const int64_t stride = count + 3;
      const auto rows = numbered(lanes * stride);
      std::vector<float> vectors(static_cast<size_t>(count * kBlock), -1);
      gather_lanes(rows.data(), stride, lanes, count, vectors.data());
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t l = 0; l < kBlock; ++l) {
          const float expected = l < lanes ? rows[static_cast<size_t>(l * stride + i)] : 0;
          ASSERT_EQ(vectors[static_cast<size_t>(i * kBlock + l)], expected)
              << lanes << " " << count;
        }
      }
      std::vector<float> back(rows.size(), -1);
      scatter_lanes(vectors.data(), stride, lanes, count, back.data());
      for (int64_t l = 0; l < lanes; ++l) {
        for (int64_t i = 0; i < stride; ++i) {  // what lies between the rows is left alone
          const auto at = static_cast<size_t>(l * stride + i);
          ASSERT_EQ(back[at], i < count ? rows[at] : -1) << lanes << " " << count;
        }
      }
    }
  }
}

}  // namespace
}  // namespace scorenet::models::cpu
