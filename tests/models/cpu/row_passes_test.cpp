#include "models/cpu/row_passes.hpp"

#include <torch/types.h>

#include <cmath>

#include "models/cpu/bf16_kernels.hpp"
#include "tests/models/cpu/each_target.hpp"
#include "tests/support/noise.hpp"

namespace scorenet::models::cpu {
namespace {

class RowPasses : public EachTarget {};
INSTANTIATE_TEST_SUITE_P(All, RowPasses, each_target(), name_of_target);

torch::Tensor floats(uint64_t step, c10::IntArrayRef shape) {
  return test::noise(step, 1, shape)[0].to(torch::kFloat32);
}
const Bf16* elements(const torch::Tensor& t) { return static_cast<const Bf16*>(t.data_ptr()); }
Bf16* elements_to_fill(const torch::Tensor& t) { return static_cast<Bf16*>(t.data_ptr()); }

// LibTorch rounds to the nearest, ties to even, too: the bits are the same.
TEST_P(RowPasses, RoundRowsAndSumThemBefore) {
  for (const int64_t channels : {1, 16, 20, 64}) {
    const auto from = floats(1, {5, channels + 4});
    const auto to = torch::zeros({5, channels + 2}, torch::kBFloat16);
    const auto sums = torch::full({channels}, 7.0f);
    round_rows(from.const_data_ptr<float>(), from.stride(0), {5, channels}, elements_to_fill(to),
               to.stride(0), sums.data_ptr<float>());
    const auto rows = from.narrow(1, 0, channels);
    EXPECT_TRUE(torch::equal(to.narrow(1, 0, channels), rows.to(torch::kBFloat16))) << channels;
    EXPECT_FALSE(to.narrow(1, channels, 2).any().item<bool>()) << channels;
    EXPECT_TRUE(torch::allclose(sums, rows.sum(0), 1e-5, 1e-6)) << channels;
  }
}

TEST_P(RowPasses, RoundTiesToTheEvenNeighbourAndKeepNaN) {
  // Halfway between 1 and the next bfloat16, 1 + 2^-7, and between that and the next but one.
  const auto from = torch::tensor({1 + 0x1p-8f, 1 + 3 * 0x1p-8f, NAN, -INFINITY});
  const auto to = torch::zeros({4}, torch::kBFloat16);
  round_rows(from.const_data_ptr<float>(), 4, {1, 4}, elements_to_fill(to), 4, nullptr);
  const auto rounded = to.to(torch::kFloat32);
  EXPECT_EQ(rounded[0].item<float>(), 1);
  EXPECT_EQ(rounded[1].item<float>(), 1 + 4 * 0x1p-8f);
  EXPECT_TRUE(std::isnan(rounded[2].item<float>()));
  EXPECT_EQ(rounded[3].item<float>(), -INFINITY);
}

// Channel c of row i goes to chunk c / 32, row i, place c mod 32.
TEST_P(RowPasses, RoundBehindABiasIntoChunks) {
  for (const int64_t channels : {1, 32, 40, 64}) {
    const int64_t rows = 20, chunks = whole_depths(channels) / kDepth;
    const auto from = floats(1, {rows, channels}).to(torch::kBFloat16),
               bias = floats(2, {channels});
    for (const bool with_bias : {true, false}) {
      const auto to = torch::full({chunks, rows, kDepth}, 3.0f).to(torch::kBFloat16);
      round_behind_bias(elements(from), channels, {rows, channels},
                        with_bias ? bias.const_data_ptr<float>() : nullptr, elements_to_fill(to),
                        rows * kDepth);
      auto expected = from.to(torch::kFloat32);
      if (with_bias) expected = expected + bias;
      expected =
          torch::constant_pad_nd(expected.to(torch::kBFloat16), {0, chunks * kDepth - channels});
      EXPECT_TRUE(torch::equal(to, expected.view({rows, chunks, kDepth}).transpose(0, 1)))
          << channels << with_bias;
    }
  }
}

TEST_P(RowPasses, SumRowsInTheirOrder) {
  const auto table = floats(1, {9, 21});
  const auto out = torch::full({21}, 5.0f);
  sum_rows(table.const_data_ptr<float>(), 9, 21, out.data_ptr<float>());
  auto expected = torch::zeros({21});
  for (int64_t r = 0; r < 9; ++r) expected = expected + table[r];
  EXPECT_TRUE(torch::equal(out, expected));
}

}  // namespace
}  // namespace scorenet::models::cpu
