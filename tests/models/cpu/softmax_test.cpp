#include "models/cpu/softmax.hpp"

#include <torch/types.h>

#include <limits>

#include "tests/models/cpu/each_target.hpp"
#include "tests/support/noise.hpp"

namespace scorenet::models::cpu {
namespace {

constexpr int64_t kRows = 3;

class Softmax : public EachTarget {};
INSTANTIATE_TEST_SUITE_P(All, Softmax, each_target(), name_of_target);

// Rows of `keys` numbers in whole blocks, with numbers behind them that must not count.
torch::Tensor rows_of(uint64_t step, int64_t keys) {
  const auto rows = test::noise(step, 1, {kRows, whole_blocks(keys)})[0].to(torch::kFloat32);
  rows.narrow(1, keys, whole_blocks(keys) - keys).fill_(100);
  return rows;
}

TEST_P(Softmax, OfRowsAndItsGradientAreLibTorchs) {
  const float scale = 0.3f;
  for (const int64_t keys : {1, 7, 16, 33, 64}) {
    const int64_t stride = whole_blocks(keys), behind = stride - keys;
    const auto s = rows_of(1, keys), d = rows_of(2, keys);
    const auto scores = s.narrow(1, 0, keys).to(torch::kFloat64).clone();
    const auto expected = torch::softmax(scale * scores, 1);
    softmax_rows(s.data_ptr<float>(), kRows, keys, stride, scale);
    EXPECT_TRUE(torch::allclose(s.narrow(1, 0, keys).to(torch::kFloat64), expected, 1e-6, 1e-7))
        << keys;
    EXPECT_FALSE(s.narrow(1, keys, behind).any().item<bool>()) << keys;

    // With p = softmax(scale s): scale p (d - sum(p d)).
    const auto given = d.narrow(1, 0, keys).to(torch::kFloat64).clone();
    const auto gradient = scale * expected * (given - (expected * given).sum(1, true));
    softmax_gradient_rows(s.const_data_ptr<float>(), d.data_ptr<float>(), kRows, keys, stride,
                          scale);
    EXPECT_TRUE(torch::allclose(d.narrow(1, 0, keys).to(torch::kFloat64), gradient, 1e-5, 1e-6))
        << keys;
    EXPECT_FALSE(d.narrow(1, keys, behind).any().item<bool>()) << keys;
  }
}

TEST_P(Softmax, OfLargeScoresIsFinite) {
  const auto s = torch::tensor({{1e4f, -1e4f, 1e4f, 0.0f}}).repeat({1, 4});
  softmax_rows(s.data_ptr<float>(), 1, 16, 16, 1);
  EXPECT_TRUE(torch::allclose(s, torch::tensor({{0.125f, 0.0f, 0.125f, 0.0f}}).repeat({1, 4})));
}

TEST_P(Softmax, OfARowWithNaNIsNaN) {
  if (!has_fast_target()) GTEST_SKIP() << "the executor does not run by these instructions";
  const auto s = torch::zeros({1, 16});
  s[0][3] = std::numeric_limits<float>::quiet_NaN();
  softmax_rows(s.data_ptr<float>(), 1, 16, 16, 1);
  EXPECT_TRUE(s.isnan().any().item<bool>());
}

}  // namespace
}  // namespace scorenet::models::cpu
